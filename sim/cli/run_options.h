// The options of `memwall run`, read and checked. An option that would have no effect is refused, so that nobody
// believes in a what-if that was not simulated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/repetition.h"
#include "workload/op_spec.h"
#include "workload/schedule.h"

namespace memwall::cli {

struct RunOptions {
    std::string device, model, phase, op, trace, tile, json, out, timeline, dtype = "bf16", weights_dtype, kv_dtype,
                                                                            runtime = "graph";
    std::vector<std::string> sets;
    std::vector<int> timeline_sms;
    std::optional<int> stages;
    std::int64_t batch = 1, context = 2048, tokens = 2048, page = 0;
    std::optional<std::int64_t> layers, layers_simulated;
    std::optional<std::string> sm_clock;
    std::optional<Repetition> repetition;  ///< at the clock that the board's limits leave work repeated so
    bool all_layers = false;
};

/// Nothing when help was asked for (and printed). Throws InputError.
std::optional<RunOptions> read_run_options(std::vector<std::string> arguments);

/// The operation that the options ask for: --op's text, or the model operation.
workload::OpSpec op_of(const RunOptions& options);
workload::ScheduleWish wish_of(const RunOptions& options);

}  // namespace memwall::cli
