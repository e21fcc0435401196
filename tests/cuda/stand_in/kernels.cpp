// The crate's kernels, compiled for the host: once, and once more with -DTURING for GPUs of compute
// capability 7.5. The included files and the lists are generated from the sources of the kernels: see
// tests/cuda/stand_in.rs.
#include "kernels_included.h"

#include "module.h"

#include <csignal>
#include <tuple>
#include <type_traits>

namespace stand_in {

// An argument as given, and as a kernel on the host receives it.
template <class T> static T given(const char*, T value, int) { return value; }
template <class T> static T* given(const char* name, T* value, int card) {
    if (value == nullptr) return nullptr;
    using Bare = std::remove_cv_t<T>;
    Address at = reinterpret_cast<Address>(value);
    if (at % alignof(Bare) != 0) fail("%s: %#lx is not an address of its numbers", name, at);
    return reinterpret_cast<T*>(reach(name, at, 1, card));
}

template <class... A, size_t... I>
static Prepare prepare(const char* name, void (*kernel)(A...), std::index_sequence<I...>) {
    return [=](void** arguments, int card) -> std::function<Work()> {
        std::tuple<A...> all(*static_cast<A*>(arguments[I])...);
        auto taken = [=] {
            return std::apply(
                [=](auto... each) { return std::make_tuple(given(name, each, card)...); }, all);
        };
        taken();
        return [=]() -> Work { return [=, reached = taken()] { std::apply(kernel, reached); }; };
    };
}
template <class... A> static Prepare prepare(const char* name, void (*kernel)(A...)) {
    return prepare(name, kernel, std::index_sequence_for<A...>());
}

#ifdef TURING
#define LIST "kernels_listed_turing.h"
const std::vector<Kernel>& turing_kernels() {
#else
#define LIST "kernels_listed.h"
const std::vector<Kernel>& kernels() {
#endif
    static const auto* all = new std::vector<Kernel>{
#define ENTRY(name, threads) {#name, threads, prepare(#name, name)},
#include LIST
#undef ENTRY
    };
    return *all;
}

#ifndef TURING

static const char* running = "";

[[noreturn]] static void fault(int signal, siginfo_t* about, void*) {
    // What follows is not signal-safe, but nothing else will run after it.
    std::string what = std::string("kernel ") + running + ": block " +
                       std::to_string(host::block.x) + "," + std::to_string(host::block.y) +
                       ", thread " + std::to_string(host::block.current);
    if (signal == SIGSEGV) {
        explain(about->si_addr, (what + " reads or writes").c_str());
    }
    fail("%s: an address that is not aligned, or a number out of range", what.c_str());
}

void run_grid(const char* name, unsigned x, unsigned y, unsigned threads, size_t shared,
              Work body) {
    struct sigaction ours = {}, segv, ill;
    ours.sa_sigaction = fault;
    ours.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &ours, &segv);
    sigaction(SIGILL, &ours, &ill);
    running = name;
    host::launch(static_cast<int>(x), static_cast<int>(y), static_cast<int>(threads), shared,
                 std::move(body));
    sigaction(SIGSEGV, &segv, nullptr);
    sigaction(SIGILL, &ill, nullptr);
}

#endif

} // namespace stand_in
