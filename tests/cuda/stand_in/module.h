// The interface between the kernels' library and the driver's.
#pragma once

#include "machine.h"

namespace stand_in {

// Takes the arguments of a launch, whose addresses are checked, and returns the work of each thread,
// to be run once they are accessible.
using Prepare = std::function<std::function<Work()>(void** arguments, int card)>;

struct Kernel {
    const char* name;
    // Threads of a block, as declared.
    unsigned threads;
    Prepare prepare;
};

// All of them, and all of compute capability 7.5.
const std::vector<Kernel>& kernels();
const std::vector<Kernel>& turing_kernels();

// Runs a kernel over a grid. Works with the lock held.
void run_grid(const char* name, unsigned x, unsigned y, unsigned threads, size_t shared, Work body);

} // namespace stand_in
