// What past correlation says of a query: the measured records nearest to it, and the errors that they had.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "result/run.h"
#include "validate/correlation.h"
#include "workload/op_spec.h"

namespace memwall::validate {

/// A correlated record, as far as a query can be near it.
struct BandRecord {
    std::string id, device, op;
    std::map<std::string, std::string> params;
    double time_error_pct = 0;  ///< of the simulated time: positive when the simulation is slower than the measurement
};

using result::Neighbour;

/// An operation of a run, and the time that the run spends in it.
struct TimedOp {
    workload::OpSpec op;
    double us = 0;
};

/// Schema memwall-bands/1: what `correlate` leaves for later runs. Latencies in cycles tell nothing of a time and are
/// left out, as is what was skipped, and products of a given tile: a run's schedule is its own.
std::string bands_json(const std::vector<Result>& results);
std::vector<BandRecord> read_bands(const std::string& path);

/// At most `most` records of the same operation (streams by any name are one), element size and path, each within a
/// factor of eight over all sizes; nearest first, and those of the same product before others equally near.
std::vector<Neighbour> neighbours_of(const std::vector<BandRecord>& records, const workload::OpSpec& op,
                                     const std::string& device, std::size_t most = 5);

/// What measurements near its operations say of a run. Operations alike count as one.
result::ComposedBand compose(const std::vector<BandRecord>& records, const std::vector<TimedOp>& operations,
                             const std::string& device);

}  // namespace memwall::validate
