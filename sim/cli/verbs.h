// The verbs of the command line. Each is one file; each returns the exit status and throws Error.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace memwall::cli {

/// Folders with devices/ and models/, first match wins: $MEMWALL_CONFIGS, beside the installed program, the source
/// tree, the working folder.
struct ConfigDirs {
    std::vector<std::string> roots, devices;
};
ConfigDirs find_configs();

int run_verb(std::vector<std::string> arguments);
int device_verb(std::vector<std::string> arguments);
int correlate_verb(std::vector<std::string> arguments);
/// `correlate --recording`: recorded tiles beside simulated ones. `stand_ins`: of a product, the device to simulate.
int compare_recordings(const std::vector<std::string>& files, const std::string& out,
                       const std::vector<std::string>& sets, const std::map<std::string, std::string>& stand_ins);
int calibrate_verb(std::vector<std::string> arguments);
/// Microbenchmarks of a device, simulated beside published: `device probe D`.
int probe_verb(const std::string& device, const std::vector<std::string>& overrides, const std::string& only,
               const std::string& json);

/// The whole command line: picks the verb, prints an Error as one line and returns its exit status.
int main_of(int argc, const char* const* argv);

}  // namespace memwall::cli
