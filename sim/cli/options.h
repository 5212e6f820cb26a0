// What the verbs share in reading their options.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace memwall::cli {

/// Parses; a status when there is nothing more to do (help). Throws InputError, in one line, on bad options.
inline std::optional<int> parse(CLI::App& app, std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
    try {
        app.parse(std::move(arguments));
    } catch (const CLI::CallForHelp&) {
        std::fputs(app.help().c_str(), stdout);
        return 0;
    } catch (const CLI::ParseError& error) {
        throw InputError(app.get_name() + ": " + error.what());
    }
    return std::nullopt;
}

}  // namespace memwall::cli
