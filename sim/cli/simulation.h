// One operation on one device, from its text to its result: what the verbs share.
#pragma once

#include <string>

#include "base/observations.h"
#include "chip/chip.h"
#include "chip/power/power.h"
#include "device/device.h"
#include "result/run.h"
#include "trace/trace.h"
#include "workload/op_spec.h"
#include "workload/schedule.h"

namespace memwall::cli {

struct ConfigDirs;

struct Simulated {
    trace::Trace trace;
    Observations seen;
    result::RunDescription run;
    result::RunResult result;
};

/// What is simulated for an operation: its kernels, and which of them stand for more than themselves.
struct Work {
    trace::Trace trace;
    result::Layers layers;
};

/// A prefill simulates these many layers; the last of them is steady and stands for the rest.
constexpr std::int64_t kPrefillLayers = 2;

/// Kernels of an operation by itself, with their schedules for `device`. Of a prefill at most so many layers (two at
/// least). `warm`: the kernels run twice, and only the second time counts: L2 then holds what it can.
Work work_of(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
             const ConfigDirs& configs, std::int64_t most_prefill_layers = kPrefillLayers, bool warm = false);

/// What the reports need to know of the work on a device, before anything is simulated.
result::RunDescription describe(const workload::OpSpec& op, const Work& work, const device::Device& d);

/// Simulates and times it on the host.
Simulated simulate(trace::Trace trace, result::RunDescription run, const device::Device& d,
                   const chip::RunOptions& options);

/// Builds and simulates an operation by itself.
Simulated simulate_op(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
                      const ConfigDirs& configs);

/// FLOPs of the counted kernels by kind, the time from the first one's launch to the last one's end, and the energy
/// that they took, each kernel as often as it stands for.
chip::TensorWork tensor_work(const trace::Trace& trace, const result::Layers& layers);
double counted_us(const Simulated& s);
chip::Energy energy_of(const Simulated& s, const device::Device& device);

/// What the board draws over a run on `device`, part by part.
result::Power power_of(const Simulated& s, const device::Device& device);

/// The SM clock of `work` where the board's power would allow any: that of tensor cores if they bound it.
double highest_mhz(const workload::OpSpec& op, const Work& work, const device::Device& device);

/// Simulates at the clock, up to highest_mhz(), that the board's limits leave an operation which is repeated so: at a
/// likely one first, then at what the power model says of that run, until the two agree within a step. The work stays
/// the same at every clock: a library has chosen its schedule before the board is warm. `device` is left at the clock
/// of what is returned, which is the last run with its host time.
Simulated simulate_limited(const workload::OpSpec& op, const Work& work, device::Device& device,
                           const Repetition& repetition, const chip::RunOptions& options = {});

}  // namespace memwall::cli
