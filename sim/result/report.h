// A run's result as text: the JSON of the contract, a table for a person, a CSV of its operations.
// (The timeline is a file of its own: timeline.h.)
#pragma once

#include <string>

#include "result/run.h"

namespace memwall::result {

/// Schema memwall-result/1, keys in the contract's order.
std::string to_json(const RunDescription& run, const RunResult& result, const Observations& seen);

/// Operations of the same name in different layers are one row; then the waterfall and the sum. Under 120 columns.
std::string to_table(const RunDescription& run, const RunResult& result);

/// One line per operation as simulated, with a header.
std::string to_csv(const RunResult& result);

}  // namespace memwall::result
