// cuRAND, as far as Candle needs it to open a card.
#include "machine.h"

extern "C" {

int curandCreateGenerator(void** generator, int) {
    if (int code = stand_in::injected(__func__)) return code;
    *generator = new int(0);
    return 0;
}

int curandDestroyGenerator(void* generator) {
    delete static_cast<int*>(generator);
    return 0;
}

int curandSetStream(void*, CUstream) { return 0; }

int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }

int curandSetGeneratorOffset(void*, unsigned long long) { return 0; }

} // extern "C"
