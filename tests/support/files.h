// Where tests write: ctest runs each in a process of its own, several at a time, so a name must be the process's own.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

namespace memwall::test {

/// A path in the temporary folder that no other process has.
inline std::filesystem::path temporary(const std::string& name) {
    return std::filesystem::temp_directory_path() / ("memwall-" + std::to_string(getpid()) + "-" + name);
}

}  // namespace memwall::test
