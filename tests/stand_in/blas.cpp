// cuBLAS, as far as Candle needs it to open a card.
#include "machine.h"

using stand_in::fail;

struct BlasHandle {
    int card;
};

extern "C" {

int cublasCreate_v2(BlasHandle** handle) {
    if (stand_in::current_card() < 0) fail("cublasCreate: the thread has no context");
    if (int code = stand_in::injected(__func__)) return code;
    *handle = new BlasHandle{stand_in::current_card()};
    return 0;
}

int cublasDestroy_v2(BlasHandle* handle) {
    delete handle;
    return 0;
}

int cublasSetStream_v2(BlasHandle*, CUstream) { return 0; }

} // extern "C"
