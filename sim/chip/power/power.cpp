#include "chip/power/power.h"

#include <algorithm>
#include <cmath>

namespace memwall::chip {

namespace {

constexpr double kPico = 1e-12;
constexpr double kLowestVoltage = 0.5;  // of the reference: no transistor of this process runs below

}  // namespace

double relative_voltage(const device::PowerParams& power, double mhz) {
    return std::max(kLowestVoltage, 1 + power.voltage_slope * (mhz / power.reference_mhz - 1));
}

Energy energy_of(const device::Device& device, const Counters& counted, const TensorWork& work, double elapsed_us) {
    const device::PowerParams& p = device.power;
    const double voltage = relative_voltage(p, device.clocks.sm_mhz);
    const double die = kPico * voltage * voltage;
    const auto bits = [](std::uint64_t bytes) { return 8 * static_cast<double>(bytes); };
    const std::uint64_t l2_bytes = counted.l2_read_bytes + counted.l2_write_bytes;
    // A lane's busy cycle is a fused multiply-add: two FLOPs.
    const double lanes = device.sm.fp32_ops_per_cycle, cycles = counted.vector_busy_ps * device.clocks.sm_mhz * 1e-6;
    Energy e;
    e.hbm = kPico * bits(counted.dram_read_bytes + counted.dram_write_bytes) * p.hbm_pj_per_bit;
    e.l2 = die * bits(l2_bytes) * p.l2_pj_per_bit;
    e.crossbar = die * bits(l2_bytes) * p.crossbar_pj_per_bit;
    e.link = die * bits(counted.link_bytes) * p.link_pj_per_bit;
    e.smem = die * bits(counted.smem_bytes) * p.smem_pj_per_bit;
    // tf32 multiplies 32-bit operands at half the 16-bit rate: the same power at its rate.
    e.tensor = die * (work.bf16 * p.tensor_pj_per_flop_bf16 + work.fp16 * p.tensor_pj_per_flop_fp16 +
                      work.eight_bit * p.tensor_pj_per_flop_8bit + work.tf32 * 2 * p.tensor_pj_per_flop_bf16);
    const double sfu_ops = counted.sfu_busy_ps * device.clocks.sm_mhz * 1e-6 * device.sm.sfu_ops_per_cycle;
    e.vector = die * (2 * lanes * cycles * p.fp32_pj_per_flop + sfu_ops * p.sfu_pj_per_op);
    e.idle = p.idle_w * elapsed_us * 1e-6;
    return e;
}

double WorkAtClocks::us_at(const device::Device& device, double mhz) const {
    const double stretching = elapsed_us - std::clamp(fixed_us, 0.0, elapsed_us);
    return elapsed_us + stretching * (device.clocks.sm_mhz / mhz - 1);
}

double WorkAtClocks::watts_at(const device::Device& device, double mhz) const {
    const device::PowerParams& p = device.power;
    const double volts = relative_voltage(p, mhz) / relative_voltage(p, device.clocks.sm_mhz);
    return p.idle_w + (energy.hbm + energy.die() * volts * volts) / us_at(device, mhz) * 1e6;
}

double clock_under(const device::Device& device, const WorkAtClocks& work, double limit_w, double highest_mhz) {
    if (work.watts_at(device, highest_mhz) <= limit_w) return highest_mhz;
    const double size = device.power.clock_step_mhz;
    double step = std::floor(highest_mhz / size);
    while (step > 1 && work.watts_at(device, step * size) > limit_w) --step;
    return step * size;
}

double clock_of(const device::Device& device, const WorkAtClocks& work, const WorkAtClocks& main,
                const Repetition& repetition, double highest_mhz) {
    const device::PowerParams& p = device.power;
    const double early = clock_under(device, main, std::max(p.peak_limit_w, p.board_limit_w), highest_mhz);
    const double late = clock_under(device, work, p.board_limit_w, early);
    if (late == early) return early;
    // The filtered power of a board that had rested, idle + (watts - idle) (1 - exp(-t / tau)), is at the limit after:
    const double over_idle = work.watts_at(device, early) - p.idle_w, allowed = p.board_limit_w - p.idle_w;
    const double until_us = 1e3 * p.limit_time_constant_ms * std::log(over_idle / (over_idle - allowed));
    const double us = work.us_at(device, early), unlimited = until_us / us;  // so many operations
    const double before = repetition.before(us), timed = repetition.timed(us);
    if (before + timed <= unlimited) return early;
    if (before >= unlimited) return late;
    // What stretches does so with the period: the mean time is that of the mean period.
    const double share = (unlimited - before) / timed;
    return 1 / (share / early + (1 - share) / late);
}

double tensor_us(const device::Device& device, const TensorWork& work) {
    const device::TensorParams& t = device.tensor;
    const double cycles = ((work.bf16 + work.fp16) / t.flops_per_cycle_16bit + work.eight_bit / t.flops_per_cycle_fp8 +
                           work.tf32 / t.flops_per_cycle_tf32) /
                          device.sms();
    return cycles / device.clocks.sm_mhz;
}

double highest_mhz(const device::Device& device, const TensorWork& work, double memory_us) {
    const device::ClockParams& clocks = device.clocks;
    return tensor_us(device, work) > memory_us ? std::min(clocks.sm_mhz, clocks.sm_peak_mhz) : clocks.sm_mhz;
}

double likely_mhz(const device::Device& device, const TensorWork& work, double memory_us,
                  const Repetition& repetition) {
    // Of large products; only where the search begins depends on them.
    constexpr double kBusy = 0.9, kFeedingPjPerFlop = 0.28, kHbmW = 90;
    const double highest = highest_mhz(device, work, memory_us);
    const double us = tensor_us(device, work) / kBusy;
    if (us <= memory_us) return highest;
    Energy energy = energy_of(device, {}, work, us);
    const double voltage = relative_voltage(device.power, device.clocks.sm_mhz);
    energy.l2 =
        kPico * voltage * voltage * kFeedingPjPerFlop * (work.bf16 + work.fp16 + work.eight_bit / 2 + work.tf32 * 2);
    energy.hbm = kHbmW * us * 1e-6;
    const WorkAtClocks all{energy, us, 0};
    return clock_of(device, all, all, repetition, highest);
}

}  // namespace memwall::chip
