// From what a user asks for to a trace.
#pragma once

#include <string>
#include <vector>

#include "device/device.h"
#include "trace/trace.h"
#include "workload/model.h"
#include "workload/op_spec.h"
#include "workload/schedule.h"

namespace memwall::workload {

/// The trace of one operation. Model operations read `config_dirs`.
trace::Trace build_trace(const OpSpec& op, const ScheduleWish& wish, const device::Device& device,
                         const std::vector<std::string>& config_dirs);

/// The situation that a model operation describes.
Situation situation_of(const OpSpec& op, const ScheduleWish& wish);

/// `wish`, completed by schedule keys that stand in the operation (tile, stages, split, cluster, persistent, panel).
ScheduleWish merge_wish(const OpSpec& op, ScheduleWish wish);

}  // namespace memwall::workload
