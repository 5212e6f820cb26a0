#include "arguments.h"

#include <algorithm>
#include <charconv>

#include "record.h"

namespace memwall::measure {

namespace {

/// `pattern` against all of `text`, both from here on.
bool glob(const char* pattern, const char* text) {
    if (*pattern == '\0') return *text == '\0';
    if (*pattern == '*') return glob(pattern + 1, text) || (*text != '\0' && glob(pattern, text + 1));
    return *text != '\0' && (*pattern == '?' || *pattern == *text) && glob(pattern + 1, text + 1);
}

int number_of(const std::string& option, const std::string& word) {
    int value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc{} || end != word.data() + word.size() || value < 0) {
        throw InputError(option + ": found \"" + word + "\"; allowed: an integer from 0");
    }
    return value;
}

}  // namespace

std::string help_text() {
    return R"(memwall-measure: measures a Hopper GPU and writes memwall-reference/1 records

usage: memwall-measure --out FILE [--suite quick|full] [--only PATTERN]...
       memwall-measure --list [--suite quick|full] [--only PATTERN]...

  --out FILE           records go here, whole after each; a file of an earlier run is continued
  --suite quick|full   quick: under a minute of GPU time; full (default): under eight
  --only PATTERN       cases whose id fits: a part of it, or with * and ? the whole; may be given again
  --list               prints the cases and their planned GPU time, and runs nothing
  --device LABEL       label in the records (default: from the device's name, as h200-sxm)
  --gpu N              which device (default 0)
  --record-tiles FILE  also runs the instrumented kernels and writes a memwall-trace/1 recording
  --help

Exit status: 0 all cases were measured and passed their checks; 1 some failed (their records say why); 2 bad input, or
no Hopper GPU.
)";
}

Arguments parse_arguments(std::span<const std::string> words) {
    Arguments a;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& option = words[i];
        const auto value = [&]() -> const std::string& {
            if (i + 1 >= words.size()) throw InputError(option + ": a value must follow");
            return words[++i];
        };
        if (option == "--help" || option == "-h") {
            a.help = true;
        } else if (option == "--list") {
            a.list = true;
        } else if (option == "--suite") {
            a.suite = value();
            if (a.suite != "quick" && a.suite != "full") {
                throw InputError("--suite: found \"" + a.suite + "\"; allowed: quick, full");
            }
        } else if (option == "--only") {
            a.only.push_back(value());
        } else if (option == "--out") {
            a.out = value();
        } else if (option == "--device") {
            a.device_label = value();
        } else if (option == "--record-tiles") {
            a.record_tiles = value();
        } else if (option == "--gpu") {
            a.gpu = number_of(option, value());
        } else if (option == "--worker") {
            a.worker = true;
            a.run = value();
        } else {
            throw InputError("found \"" + option + "\"; allowed: the options of --help");
        }
    }
    if (!a.help && !a.list && a.out.empty() && a.record_tiles.empty()) {
        throw InputError("--out: a file must be named (or --list, or --record-tiles)");
    }
    return a;
}

bool matches(const std::string& pattern, const std::string& id) {
    if (pattern.find_first_of("*?") == std::string::npos) return id.find(pattern) != std::string::npos;
    return glob(pattern.c_str(), id.c_str());
}

Cases chosen_cases(const Arguments& arguments) {
    Cases cases = suite(arguments.suite);
    for (const std::string& pattern : arguments.only) {
        const auto fits = [&](const Case& c) { return matches(pattern, c.id()); };
        if (std::ranges::none_of(cases, fits)) {
            throw InputError("--only: found \"" + pattern + "\", which fits no case of the " + arguments.suite +
                             " suite; allowed: a pattern of --list");
        }
    }
    if (arguments.only.empty()) return cases;
    std::erase_if(cases, [&](const Case& c) {
        return std::ranges::none_of(arguments.only,
                                    [&](const std::string& pattern) { return matches(pattern, c.id()); });
    });
    return cases;
}

}  // namespace memwall::measure
