// A reference record simulated: the same work, at the same clock, answered in the record's own metric.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/simulation.h"
#include "cli/verbs.h"
#include "validate/correlation.h"
#include "validate/express.h"

namespace memwall::cli {

/// A skipped record whose simulation broke a law or deadlocked starts so; everything else that is skipped is no fault.
inline constexpr const char* kBroken = "the simulated machine failed: ";

/// How the reason ends for which a record of more arithmetic than asked for is skipped.
inline constexpr const char* kTooLong = " (--most-tflop): it would take long";

class Replay {
public:
    /// `sets`: overrides on every device. Records of more arithmetic than `most_tflop` are skipped. `stand_ins`: of a
    /// product, by its name in records, the device that is simulated instead of its own. Reads the devices; throws
    /// InputError.
    Replay(ConfigDirs configs, const std::vector<std::string>& sets, double most_tflop,
           const std::map<std::string, std::string>& stand_ins = {});

    /// Never throws for what is wrong with the record: that is the reason why it is skipped.
    [[nodiscard]] validate::Simulation simulate(const validate::Record& record) const;

    /// The same on a description of the caller's, whatever the record's product.
    [[nodiscard]] validate::Simulation simulate(const validate::Record& record, const device::Device& device) const;

private:
    [[nodiscard]] validate::Simulation run(const validate::Record& record, device::Device device) const;

    ConfigDirs configs_;
    double most_tflop_;
    std::map<std::string, device::Device> devices_;    ///< by name of the description
    std::map<std::string, device::Device> stand_ins_;  ///< by product
};

nlohmann::json to_json(const validate::Simulation& simulation);
/// `name` stands for the file in errors.
validate::Simulation simulation_of(const nlohmann::json& json, const std::string& name);

}  // namespace memwall::cli
