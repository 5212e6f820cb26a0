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

/// What the reports need to know of a trace on a device, before anything is simulated.
result::RunDescription describe(const workload::OpSpec& op, const trace::Trace& trace, const device::Device& d,
                                const result::Layers& layers = {});
result::KernelInfo kernel_info(const trace::Kernel& kernel, const device::Device& d);

/// Simulates and times it on the host.
Simulated simulate(trace::Trace trace, result::RunDescription run, const device::Device& d,
                   const chip::RunOptions& options);

/// The kernels of `trace` run twice, and only the second time counts: L2 then holds what it can.
trace::Trace warmed(trace::Trace trace);

/// Kernels of an operation by itself, with their schedules for `device`. `warm`: see `warmed`.
trace::Trace trace_of(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
                      const ConfigDirs& configs, bool warm = false);

/// A prefill simulates these many layers; the last of them is steady and stands for the rest.
constexpr std::int64_t kPrefillLayers = 2;

/// Where `trace` is the prefill of a model with more layers than `simulated`, becomes that of so many, and the result
/// says how often each kernel counts. A decode, and any other operation, stays as it is.
result::Layers extrapolate_layers(const workload::OpSpec& op, const workload::ScheduleWish& wish,
                                  const device::Device& device, const ConfigDirs& configs, std::int64_t simulated,
                                  trace::Trace& trace);

/// Builds and simulates an operation by itself.
Simulated simulate_op(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
                      const ConfigDirs& configs, bool warm = false);

/// FLOPs of the counted kernels by kind, their time with the gaps before them, and the energy that they took, each as
/// often as it stands for.
chip::TensorWork tensor_work(const trace::Trace& trace, const result::Layers& layers);
double counted_us(const Simulated& s);
chip::Energy energy_of(const Simulated& s, const device::Device& device);

/// What the board draws over a run on `device`, part by part.
result::Power power_of(const Simulated& s, const device::Device& device);

/// Simulates at the highest clock, up to `device`'s, that keeps the board under its limit: at a likely one first, then
/// at what the power model says of that run, until the two agree within a step. The work stays the same at every
/// clock: a library has chosen its schedule before the board is warm. `device` is left at the clock of what is
/// returned.
Simulated simulate_sustained(const workload::OpSpec& op, const trace::Trace& trace, device::Device& device,
                             const result::Layers& layers = {}, const chip::RunOptions& options = {});

}  // namespace memwall::cli
