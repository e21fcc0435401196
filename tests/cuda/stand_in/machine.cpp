// Settings, failures, and the lock.
#include "machine.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>

namespace stand_in {

void fail(const char* format, ...) {
    va_list words;
    va_start(words, format);
    std::fputs("CUDA stand-in: ", stderr);
    std::vfprintf(stderr, format, words);
    std::fputs("\n", stderr);
    va_end(words);
    std::abort();
}

std::recursive_mutex& machine() {
    // Never destroyed: threads may call until the process ends.
    static auto* lock = new std::recursive_mutex;
    return *lock;
}

static std::vector<std::string> list(const char* text) {
    std::vector<std::string> all;
    std::stringstream words(text);
    for (std::string word; std::getline(words, word, ',');) all.push_back(word);
    return all;
}

static Settings read() {
    Settings s;
    auto number = [](const char* name, long usual) {
        const char* text = std::getenv(name);
        if (text == nullptr || *text == 0) return usual;
        char* end;
        long value = std::strtol(text, &end, 10);
        if (*end != 0 || value < 0) fail("%s=%s is not a number", name, text);
        return value;
    };
    auto text = [](const char* name, const char* usual) {
        const char* value = std::getenv(name);
        return value == nullptr || *value == 0 ? usual : value;
    };
    s.cards = static_cast<int>(number("STAND_IN_CARDS", 1));
    s.memory = static_cast<size_t>(number("STAND_IN_MEMORY_MIB", 4096)) << 20;
    s.pinned = static_cast<size_t>(number("STAND_IN_PINNED_MIB", 4096)) << 20;
    s.names = list(text("STAND_IN_NAMES", "Stand-in"));
    s.capability = static_cast<int>(number("STAND_IN_CAPABILITY", 90));
    s.old = static_cast<int>(number("STAND_IN_OLD", 0));
    s.multiprocessors = static_cast<int>(number("STAND_IN_MULTIPROCESSORS", 132));
    s.cache = static_cast<size_t>(number("STAND_IN_CACHE_MIB", 50)) << 20;
    s.driver = static_cast<int>(number("STAND_IN_DRIVER", 13000));
    s.pools = number("STAND_IN_POOLS", 1) != 0;
    std::string work = text("STAND_IN_WORK", "late");
    if (work != "late" && work != "now")
        fail("STAND_IN_WORK=%s is neither late nor now", work.c_str());
    s.late = work == "late";
    s.algorithms = list(text("STAND_IN_ALGORITHMS", "split,uneven,even"));
    s.products = text("STAND_IN_PRODUCTS", "none");
    std::string failure = text("STAND_IN_FAIL", "");
    if (!failure.empty()) {
        size_t colon = failure.find(':');
        if (colon == std::string::npos) fail("STAND_IN_FAIL=%s has no number", failure.c_str());
        s.fail_name = failure.substr(0, colon);
        char* end;
        s.fail_call = std::strtol(failure.c_str() + colon + 1, &end, 10);
        if (*end == ':') s.fail_code = std::atoi(end + 1);
    }
    // As the driver reads it: numbers up to the first that is not a GPU.
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (visible == nullptr) {
        for (int card = 0; card < s.cards; ++card) s.seen.push_back(card);
    } else {
        for (const std::string& word : list(visible)) {
            char* end;
            long card = std::strtol(word.c_str(), &end, 10);
            if (end == word.c_str() || *end != 0 || card < 0 || card >= s.cards) break;
            s.seen.push_back(static_cast<int>(card));
        }
    }
    return s;
}

const Settings& settings() {
    static const Settings* all = new Settings(read());
    return *all;
}

int injected(const char* function) {
    static long calls = 0;
    const Settings& s = settings();
    if (s.fail_call == 0 || s.fail_name != function) return 0;
    return ++calls == s.fail_call ? s.fail_code : 0;
}

bool is_odd(uint64_t number) {
    number = (number ^ number >> 33) * 0xff51afd7ed558ccd;
    number = (number ^ number >> 33) * 0xc4ceb9fe1a85ec53;
    return (number ^ number >> 33) & 1;
}

} // namespace stand_in
