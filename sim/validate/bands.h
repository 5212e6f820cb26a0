// What past correlation says of a query: the measured records nearest to it, and the errors that they had.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "validate/correlation.h"
#include "workload/op_spec.h"

namespace memwall::validate {

/// A correlated record, as far as a query can be near it.
struct BandRecord {
    std::string id, device, op;
    std::map<std::string, std::string> params;
    double time_error_pct = 0;  ///< of the simulated time: positive when the simulation is slower than the measurement
};

/// A record near a query.
struct Neighbour {
    std::string id;
    double distance = 0;  ///< e^distance is a factor between the sizes, all parameters together
    double time_error_pct = 0;
};

/// Schema memwall-bands/1: what `correlate` leaves for later runs. Latencies in cycles tell nothing of a time and are
/// left out, as is what was skipped.
std::string bands_json(const std::vector<Result>& results);
std::vector<BandRecord> read_bands(const std::string& path);

/// At most `most` records of the same operation (streams by any name are one), element size and path, each within a
/// factor of eight over all sizes; nearest first, and those of the same product before others equally near.
std::vector<Neighbour> neighbours_of(const std::vector<BandRecord>& records, const workload::OpSpec& op,
                                     const std::string& device, std::size_t most = 5);

}  // namespace memwall::validate
