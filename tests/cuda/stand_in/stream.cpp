// The driver's functions for streams and events.
#include "machine.h"

#include <algorithm>

using stand_in::fail;
using stand_in::Queue;
using stand_in::settings;

struct CUevent_st {
    CUcontext context = nullptr;
    // The work queued when the event was recorded.
    std::shared_ptr<Queue> queue;
    uint64_t end = 0;
};

namespace stand_in {

void Queue::run(uint64_t end) {
    while (done < end) {
        if (work.empty()) fail("work waits for itself");
        Work next = std::move(work.front());
        work.pop_front();
        next();
        ++done;
    }
}

static std::shared_ptr<Queue> queue_of(const char* function, CUstream stream) {
    CUcontext context;
    if (cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr) {
        fail("%s: the thread has no context", function);
    }
    if (stream == nullptr) return context->queue;
    if (reinterpret_cast<uintptr_t>(stream) < 4096)
        fail("%s: streams by number are not provided", function);
    if (stream->context != context) {
        fail("%s: the stream is of card %d, and the thread's context of card %d", function,
             stream->context->card, context->card);
    }
    return stream->queue;
}

void enqueue(const char* function, CUstream stream, Work work) {
    auto queue = queue_of(function, stream);
    queue->work.push_back(std::move(work));
    ++queue->asked;
    if (!settings().late) queue->run();
}

} // namespace stand_in

using stand_in::queue_of;

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    DRIVER_CALL
    CUcontext context;
    if (cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (flags != CU_STREAM_NON_BLOCKING)
        fail("cuStreamCreate: only streams that do not wait for the default stream");
    *stream = new CUstream_st;
    (*stream)->context = context;
    context->streams.push_back(*stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    DRIVER_CALL
    if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    // Its work is still to be done; here, at once.
    stream->queue->run();
    auto& all = stream->context->streams;
    all.erase(std::remove(all.begin(), all.end(), stream), all.end());
    delete stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    DRIVER_CALL
    queue_of(__func__, stream)->run();
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    DRIVER_CALL
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (event->queue == nullptr) return CUDA_SUCCESS;
    stand_in::enqueue(__func__, stream,
                      [queue = event->queue, end = event->end] { queue->run(end); });
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned) {
    DRIVER_CALL
    CUcontext context;
    if (cuCtxGetCurrent(&context) != CUDA_SUCCESS || context == nullptr)
        return CUDA_ERROR_INVALID_CONTEXT;
    *event = new CUevent_st;
    (*event)->context = context;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent event) {
    DRIVER_CALL
    delete event;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
    DRIVER_CALL
    auto queue = queue_of(__func__, stream);
    if (stream != nullptr && stream->context != event->context) return CUDA_ERROR_INVALID_HANDLE;
    event->queue = queue;
    event->end = queue->asked;
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent event) {
    DRIVER_CALL
    if (event->queue != nullptr) event->queue->run(event->end);
    return CUDA_SUCCESS;
}
