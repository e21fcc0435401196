// Functions of one number.
#pragma once

#include "device.cuh"

// x · ½ (1 + erf(x / √2)).
DEVICE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// x / (1 + e^−x).
DEVICE float silu(float x) { return x / (1.0f + expf(-x)); }
