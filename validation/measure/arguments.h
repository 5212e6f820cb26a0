// The command line of memwall-measure.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "case.h"

namespace memwall::measure {

struct Arguments {
    bool help = false, list = false;
    std::string suite = "full";
    std::vector<std::string> only;  ///< patterns of ids; a case is taken when any fits; empty: all
    std::string out;
    std::string device_label;  ///< empty: from the device's name
    std::string record_tiles;  ///< file for a recording of tiles; empty: none
    int gpu = 0;
    bool worker = false;  ///< runs the cases; the process without it only starts and restarts this one
    std::string run;      ///< what the supervisor calls this invocation
};

/// Throws InputError: the option, what was found, what is allowed.
[[nodiscard]] Arguments parse_arguments(std::span<const std::string> words);
[[nodiscard]] std::string help_text();

/// `pattern` with * for any run of characters and ? for one; without either, a part of the id is enough.
[[nodiscard]] bool matches(const std::string& pattern, const std::string& id);

/// The cases that the arguments ask for. Throws InputError when a pattern fits none.
[[nodiscard]] Cases chosen_cases(const Arguments& arguments);

}  // namespace memwall::measure
