#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/huge_pages.h"
#include "cli/verbs.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kUsage =
    "memwall: where the time of a kernel goes in the memory hierarchy of an H100\n"
    "\n"
    "  memwall run     --device D (--model M --phase decode|prefill | --op \"OP k=v ...\") [options]   (run --help)\n"
    "  memwall device  list | show D | graph D [--dot|--svg] | probe D                              (device --help)\n"
    "  memwall correlate --reference FILE... --out DIR                                              (correlate "
    "--help)\n"
    "  memwall calibrate --device D --reference FILE... --out NEW                                   (calibrate "
    "--help)\n"
    "  memwall --version\n";

/// Verbs of the contract that this version does not have.
constexpr const char* kLater[] = {"trace", "sweep", "report"};

int dispatch(std::vector<std::string> arguments) {
    if (arguments.empty()) {
        fmt::print(stderr, "{}", kUsage);
        return 2;
    }
    const std::string verb = arguments.front();
    arguments.erase(arguments.begin());
    if (verb == "run") return run_verb(std::move(arguments));
    if (verb == "device") return device_verb(std::move(arguments));
    if (verb == "correlate") return correlate_verb(std::move(arguments));
    if (verb == "calibrate") return calibrate_verb(std::move(arguments));
    if (verb == "--help" || verb == "-h" || verb == "help") {
        fmt::print("{}", kUsage);
        return 0;
    }
    if (verb == "--version") {
        fmt::print("memwall {}\n", MEMWALL_VERSION);
        return 0;
    }
    if (std::find(std::begin(kLater), std::end(kLater), verb) != std::end(kLater)) {
        throw InputError(fmt::format(
            "memwall {}: this version does not have this verb yet; it has run, device, correlate and calibrate", verb));
    }
    throw InputError("memwall", fmt::format("\"{}\"", verb), "run, device, correlate, calibrate");
}

}  // namespace

ConfigDirs find_configs() {
    ConfigDirs dirs;
    const auto add = [&](const fs::path& root) {
        if (!fs::is_directory(root)) return;
        dirs.roots.push_back(root.string());
        dirs.devices.push_back((root / "devices").string());
    };
    if (const char* named = std::getenv("MEMWALL_CONFIGS")) add(named);
    std::error_code failed;
    const fs::path program = fs::read_symlink("/proc/self/exe", failed);
    if (!failed) add(program.parent_path().parent_path() / "share" / "memwall" / "configs");
    add(MEMWALL_SOURCE_CONFIGS);
    add("configs");
    return dirs;
}

int main_of(int argc, const char* const* argv) {
    prefer_huge_pages();
    try {
        const int status = dispatch({argv + 1, argv + argc});
        // What is still in the buffer may meet a full disk: then the answer was lost, and a script must know.
        if (std::fflush(stdout) != 0)
            throw HostError(fmt::format("standard output: cannot be written: {}", std::strerror(errno)));
        return status;
    } catch (const Error& error) {
        fmt::print(stderr, "memwall: {}\n", error.what());
        return error.exit_status();
    } catch (const std::exception& error) {
        fmt::print(stderr, "memwall: {}\n", error.what());
        return 1;
    }
}

}  // namespace memwall::cli
