// cuBLASLt: products of a transposed matrix with another, in f16, bf16 or f32, summed in f32. The
// types and numbers are those of cublasLt.h, as far as they are used.
//
// STAND_IN_ALGORITHMS chooses what is offered, in this order:
//   even      sums in one order
//   uneven    sums in another order in every other hundred rows: the bits depend on the position
//   restless  sums in another order in some calls: equal rows agree only within a call
//   tall      cannot be started with fewer than 8192 rows
//   other     sums in another order in products of fewer than 8192 rows
//   split     declares that it splits sums among blocks
//   greedy    needs a workspace
//   broken    cannot be started
// NAME@OUTPUTS is offered only for weights with that number of outputs, and NAME@bf16, NAME@f16 and
// NAME@f32 only for weights of that format.
//
// VERSION is the library's version number: 130000 for 13.0.0.
#include "machine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string_view>
#include <unordered_map>

using stand_in::Address;
using stand_in::current_card;
using stand_in::fail;

namespace {

enum Status {
    SUCCESS = 0,
    INVALID_VALUE = 7,
    ARCH_MISMATCH = 8,
    EXECUTION_FAILED = 13,
    NOT_SUPPORTED = 15
};
enum Type { F32 = 0, F16 = 2, BF16 = 14 };
enum Compute { COMPUTE_32F = 68, COMPUTE_32F_PEDANTIC = 69, COMPUTE_32F_FAST_TF32 = 77 };

struct Handle {
    int card;
};

struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t apart;

    size_t size() const { return type == F32 ? 4 : 2; }
    size_t bytes() const { return ((columns - 1) * apart + rows) * size(); }
    bool operator==(const Layout& other) const {
        return type == other.type && rows == other.rows && columns == other.columns &&
               apart == other.apart;
    }
};

struct Desc {
    int compute, scale;
    std::map<int, int> attributes;

    int of(int attribute) const {
        auto found = attributes.find(attribute);
        return found == attributes.end() ? 0 : found->second;
    }
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t reductions = ~0u;
};

// As cublasLtMatmulAlgo_t.
struct Algorithm {
    uint64_t kind, compute, type, inputs, outputs, unused[3];
};
static_assert(sizeof(Algorithm) == 64, "as the library has it");

// As cublasLtMatmulHeuristicResult_t.
struct Result {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Result) == 96, "as the library has it");

enum Kind { EVEN, UNEVEN, RESTLESS, SPLIT, GREEDY, BROKEN, TALL, OTHER };

int kind_of(const std::string& name) {
    static const char* const names[] = {"even",   "uneven", "restless", "split",
                                        "greedy", "broken", "tall",     "other"};
    for (int kind = 0; kind < 8; ++kind) {
        if (name == names[kind]) return kind;
    }
    fail("STAND_IN_ALGORITHMS: there is no %s", name.c_str());
}

constexpr int TRANSA = 3;
constexpr int TRANSB = 4;
constexpr int EPILOGUE = 7;

float widen(int type, const unsigned char* from) {
    if (type == F32) {
        float value;
        std::memcpy(&value, from, 4);
        return value;
    }
    if (type == F16) {
        _Float16 value;
        std::memcpy(&value, from, 2);
        return static_cast<float>(value);
    }
    uint16_t bits;
    std::memcpy(&bits, from, 2);
    uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

void narrow(int type, float value, unsigned char* to) {
    if (type == F32) {
        std::memcpy(to, &value, 4);
    } else if (type == F16) {
        auto half = static_cast<_Float16>(value);
        std::memcpy(to, &half, 2);
    } else {
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        auto half = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
        if (std::isnan(value)) half = 0x7fff;
        std::memcpy(to, &half, 2);
    }
}

// Rounds to the 10 bits after the point that TF32 keeps.
float tf32(float value) {
    if (!std::isfinite(value)) return value;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits = (bits + 0x1000) & ~0x1fffu;
    std::memcpy(&value, &bits, 4);
    return value;
}

struct Product {
    Layout weights, x, y;
    Algorithm algorithm;
    float alpha;
    bool is_fast;
    // Number of earlier products.
    unsigned long number;

    void run(const unsigned char* w, const unsigned char* from, unsigned char* to) const {
        size_t inputs = weights.rows, outputs = weights.columns;
        size_t w_size = weights.size(), x_size = x.size(), y_size = y.size();
        // [inputs, outputs]: outputs side by side.
        std::vector<float> turned(inputs * outputs);
        for (size_t o = 0; o < outputs; ++o) {
            for (size_t i = 0; i < inputs; ++i) {
                float value = widen(weights.type, w + (o * weights.apart + i) * w_size);
                turned[i * outputs + o] = is_fast ? tf32(value) : value;
            }
        }
        // Equal rows summed in the same order have equal results, so one is enough.
        std::unordered_map<std::string_view, size_t> known[2];
        std::vector<float> row(inputs), sums(outputs);
        for (size_t r = 0; r < x.columns; ++r) {
            const unsigned char* source = from + r * x.apart * x_size;
            unsigned char* target = to + r * y.apart * y_size;
            bool is_other = (algorithm.kind == UNEVEN && r / 100 % 2 == 1) ||
                            (algorithm.kind == RESTLESS && stand_in::is_odd(number)) ||
                            (algorithm.kind == OTHER && x.columns < 8192);
            std::string_view bytes(reinterpret_cast<const char*>(source), inputs * x_size);
            auto [first, is_new] = known[is_other].emplace(bytes, r);
            if (!is_new) {
                std::memcpy(target, to + first->second * y.apart * y_size, outputs * y_size);
                continue;
            }
            for (size_t i = 0; i < inputs; ++i) {
                float value = widen(x.type, source + i * x_size);
                row[i] = is_fast ? tf32(value) : value;
            }
            std::fill(sums.begin(), sums.end(), 0.0f);
            // Four at a time, added one after the other: the bits are those of one at a time.
            size_t step = 0;
            auto input = [&](size_t at) { return is_other ? inputs - 1 - at : at; };
            float* all = sums.data();
            for (; step + 4 <= inputs; step += 4) {
                size_t a = input(step), b = input(step + 1), c = input(step + 2), d = input(step + 3);
                const float *la = &turned[a * outputs], *lb = &turned[b * outputs],
                            *lc = &turned[c * outputs], *ld = &turned[d * outputs];
                float fa = row[a], fb = row[b], fc = row[c], fd = row[d];
                for (size_t o = 0; o < outputs; ++o)
                    all[o] = (((all[o] + fa * la[o]) + fb * lb[o]) + fc * lc[o]) + fd * ld[o];
            }
            for (; step < inputs; ++step) {
                size_t i = input(step);
                const float* line = &turned[i * outputs];
                float factor = row[i];
                for (size_t o = 0; o < outputs; ++o) all[o] += factor * line[o];
            }
            for (size_t o = 0; o < outputs; ++o)
                narrow(y.type, alpha * sums[o], target + o * y_size);
        }
    }
};

// Whether this product is supported.
bool is_known(const Desc& desc, const Layout& w, const Layout& x, const Layout& c,
              const Layout& y) {
    bool is_compute = desc.compute == COMPUTE_32F || desc.compute == COMPUTE_32F_PEDANTIC ||
                      (desc.compute == COMPUTE_32F_FAST_TF32 && w.type == F32);
    if (!is_compute || desc.scale != F32)
        fail("cublasLt: compute type %d is not provided", desc.compute);
    if (desc.of(TRANSA) != 1 || desc.of(TRANSB) != 0 || desc.of(EPILOGUE) > 1) {
        fail("cublasLt: only products of a transposed matrix and another, without an epilogue");
    }
    bool is_type = w.type == F32 || w.type == F16 || w.type == BF16;
    if (!is_type || w.type != x.type || y.type != x.type)
        fail("cublasLt: types that are not provided");
    return w.rows == x.rows && w.columns == y.rows && x.columns == y.columns && c == y;
}

// Whether the GPU has the number format: before 8.0 there is neither bf16 nor TF32.
bool has_format(const Handle& handle, const Desc& desc, const Layout& w) {
    bool is_new = w.type == BF16 || desc.compute == COMPUTE_32F_FAST_TF32;
    return !is_new || stand_in::capability(handle.card) >= 80;
}

} // namespace

#define CALL                                                                                       \
    std::lock_guard<std::recursive_mutex> only(stand_in::machine());                               \
    if (int code = stand_in::injected(__func__)) return code;

extern "C" {

size_t cublasLtGetVersion() { return VERSION; }

int cublasLtCreate(Handle** handle) {
    CALL
    if (current_card() < 0) fail("cublasLtCreate: the thread has no context");
    *handle = new Handle{current_card()};
    return SUCCESS;
}

int cublasLtDestroy(Handle* handle) {
    CALL
    delete handle;
    return SUCCESS;
}

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns,
                               int64_t apart) {
    CALL
    if (rows == 0 || columns == 0 || apart < static_cast<int64_t>(rows)) return INVALID_VALUE;
    *layout = new Layout{type, rows, columns, apart};
    return SUCCESS;
}

int cublasLtMatrixLayoutDestroy(Layout* layout) {
    CALL
    delete layout;
    return SUCCESS;
}

int cublasLtMatmulDescCreate(Desc** desc, int compute, int scale) {
    CALL
    *desc = new Desc{compute, scale, {}};
    return SUCCESS;
}

int cublasLtMatmulDescDestroy(Desc* desc) {
    CALL
    delete desc;
    return SUCCESS;
}

int cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, size_t size) {
    CALL
    if (attribute != TRANSA && attribute != TRANSB && attribute != EPILOGUE) {
        fail("cublasLtMatmulDescSetAttribute: attribute %d is not provided", attribute);
    }
    if (size != 4) return INVALID_VALUE;
    std::memcpy(&desc->attributes[attribute], value, 4);
    return SUCCESS;
}

int cublasLtMatmulPreferenceCreate(Preference** preference) {
    CALL
    *preference = new Preference;
    return SUCCESS;
}

int cublasLtMatmulPreferenceDestroy(Preference* preference) {
    CALL
    delete preference;
    return SUCCESS;
}

int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value,
                                         size_t size) {
    CALL
    if (attribute == 1 && size == 8) {
        std::memcpy(&preference->workspace, value, 8);
    } else if (attribute == 3 && size == 4) {
        std::memcpy(&preference->reductions, value, 4);
    } else {
        fail("cublasLtMatmulPreferenceSetAttribute: attribute %d of %zu bytes is not provided",
             attribute, size);
    }
    return SUCCESS;
}

// A list that ignores the preference: the caller has to check.
int cublasLtMatmulAlgoGetHeuristic(Handle* handle, const Desc* desc, const Layout* w,
                                   const Layout* x, const Layout* c, const Layout* y,
                                   const Preference*, int room, Result* results, int* count) {
    CALL
    if (handle == nullptr || room < 1 || !is_known(*desc, *w, *x, *c, *y)) return INVALID_VALUE;
    *count = 0;
    if (!has_format(*handle, *desc, *w)) return NOT_SUPPORTED;
    for (const std::string& entry : stand_in::settings().algorithms) {
        if (*count == room) break;
        size_t at = entry.find('@');
        std::string name = entry.substr(0, at);
        if (at != std::string::npos) {
            std::string only = entry.substr(at + 1);
            bool is_type = (only == "bf16" && w->type == BF16) ||
                           (only == "f16" && w->type == F16) || (only == "f32" && w->type == F32);
            if (!is_type && only != std::to_string(w->columns)) continue;
        }
        Result& result = results[(*count)++];
        result = {};
        result.algorithm = {static_cast<uint64_t>(kind_of(name)),
                            static_cast<uint64_t>(desc->compute),
                            static_cast<uint64_t>(w->type),
                            w->rows,
                            w->columns,
                            {}};
        result.workspace = name == "greedy" ? 1 << 20 : 0;
        result.waves = 1;
    }
    return *count == 0 ? NOT_SUPPORTED : SUCCESS;
}

int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm* algorithm, int attribute, void* value,
                                         size_t size, size_t* written) {
    CALL
    // ID, tile, parts of a sum, reduction, swizzle, option, stages, inner shape, cluster.
    int all[] = {static_cast<int>(algorithm->kind), 20, 1, 0, 0, 0, 11, 0, 2};
    if (algorithm->kind == SPLIT) {
        all[2] = 4;
        all[3] = 1;
    }
    // Inner shape and cluster shape have 16 bits.
    size_t wanted = attribute >= 7 ? 2 : 4;
    if (attribute < 0 || attribute > 8) return INVALID_VALUE;
    if (size != wanted) return INVALID_VALUE;
    *written = wanted;
    std::memcpy(value, &all[attribute], wanted);
    return SUCCESS;
}

int cublasLtMatmul(Handle* handle, const Desc* desc, const float* alpha, const void* w,
                   const Layout* w_layout, const void* x, const Layout* x_layout, const float* beta,
                   const void* c, const Layout* c_layout, void* y, const Layout* y_layout,
                   const Algorithm* algorithm, const void*, size_t, CUstream stream) {
    CALL
    static unsigned long number = 0;
    if (!is_known(*desc, *w_layout, *x_layout, *c_layout, *y_layout)) return INVALID_VALUE;
    if (algorithm == nullptr) fail("cublasLtMatmul: without an algorithm");
    if (*beta != 0 || c != y) fail("cublasLtMatmul: only y = alpha W x");
    if (handle->card != current_card()) {
        fail("cublasLtMatmul: the handle is of card %d, and the thread's context of card %d",
             handle->card, current_card());
    }
    if (algorithm->compute != static_cast<uint64_t>(desc->compute) ||
        algorithm->type != static_cast<uint64_t>(w_layout->type) ||
        algorithm->inputs != w_layout->rows || algorithm->outputs != w_layout->columns) {
        return INVALID_VALUE;
    }
    if (!has_format(*handle, *desc, *w_layout)) return ARCH_MISMATCH;
    if (algorithm->kind == BROKEN) return EXECUTION_FAILED;
    if (algorithm->kind == TALL && x_layout->columns < 8192) return NOT_SUPPORTED;
    if (algorithm->kind == GREEDY) return INVALID_VALUE;
    Product product{*w_layout,  *x_layout, *y_layout,
                    *algorithm, *alpha,    desc->compute == COMPUTE_32F_FAST_TF32,
                    number++};
    const char* name = "cublasLtMatmul";
    int card = handle->card;
    auto at = [](const void* address) { return reinterpret_cast<Address>(address); };
    for (auto [address, layout] :
         {std::pair(at(w), w_layout), std::pair(at(x), x_layout), std::pair(at(y), y_layout)}) {
        if (address % 16 != 0) fail("%s: %#lx is not aligned", name, address);
        stand_in::check(name, address, layout->bytes(), card);
    }
    stand_in::enqueue(name, stream, [=, w = at(w), x = at(x), y = at(y)] {
        product.run(stand_in::reach(name, w, product.weights.bytes(), card),
                    stand_in::reach(name, x, product.x.bytes(), card),
                    stand_in::reach(name, y, product.y.bytes(), card));
    });
    return SUCCESS;
}

} // extern "C"
