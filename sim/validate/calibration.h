// Fitting physical parts to microbenchmarks: one cause, one number, the records that show it and nothing else.
//
// Kernels and models are never fitted. A number that its description calls spec or measured is left alone.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "device/reader.h"
#include "validate/record.h"

namespace memwall::validate {

/// A part whose number shows in some microbenchmarks and, once the causes before it are right, in these alone.
struct Cause {
    std::string what;                                                    ///< "L2 hit in the own half"
    std::string pointer;                                                 ///< of the device description
    std::function<bool(const Record&, const device::Device&)> shows_in;  ///< of records of this device
};

/// In the order in which they are to be fitted: each one's records contain the parts before it.
const std::vector<Cause>& causes();

/// The records that show a cause: micro records of one product, at most `most`, spread over all there are.
std::vector<Record> records_of(const Cause& cause, const std::vector<Record>& all, const device::Device& device,
                               const std::string& product, std::size_t most);

struct Fit {
    double value = 0;
    double error_before = 0, error_after = 0;  ///< of `error`, at the first value and at `value`
    bool bracketed = false;                    ///< the error changed its sign: there is a root
    int evaluations = 0;
};

/// The value of a parameter at which `error`, which is monotonic in it, is zero: searched outward from `start` and then
/// between, inside [lowest, highest], to `tolerance`. Without a root the value with the least error.
Fit fit_parameter(const std::function<double(double)>& error, double start, double lowest, double highest,
                  double tolerance);

/// A number that was fitted, as the new description states it.
struct FittedEntry {
    std::string pointer, unit, source;
    double value;
};

/// The text of a device file that takes everything else from `base`.
std::string calibrated_device(const std::string& name, const std::string& base, const std::string& description,
                              const std::vector<FittedEntry>& entries);

}  // namespace memwall::validate
