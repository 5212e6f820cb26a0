// A reference record as something that memwall can simulate, or the reason why it cannot.
#pragma once

#include <optional>
#include <string>

#include "device/device.h"
#include "validate/record.h"
#include "workload/op_spec.h"
#include "workload/schedule.h"

namespace memwall::validate {

/// Which figure of a run answers the record.
enum class Figure {
    time_us,    ///< of the kernels, plus Expressed::added_us
    period_us,  ///< from the end of a kernel to that of the next, in the mean: what a long sequence takes for each
    tflops,     ///< FLOPs of the operation over that time
    gbps,       ///< bytes of the operation over that time
    tokens_per_s,
    chase_cycles,  ///< mean latency of a chase
    chase_ns,
    chase_near_cycles,  ///< the tenth percentile: the nearer places of the chase
    chase_far_cycles,   ///< the ninetieth
    cycles_each,        ///< SM cycles for each instruction of a wgmma chain
    cycles,             ///< SM cycles of the time
    memory_fraction,    ///< DRAM bytes over time and peak
    roofline_fraction,  ///< the larger roofline over the time: of arithmetic's peak, or of memory's
};

struct Expressed {
    workload::OpSpec op;
    workload::ScheduleWish wish;
    Figure figure = Figure::time_us;
    double added_us = 0;  ///< launch gap that the measured value contains
    bool warm = false;    ///< run the kernels once before, so that L2 holds what it can
    /// Operands that cost little power (zeros, or all alike), or a chase: the clock is the maximum.
    bool at_full_clock = false;
    std::string note;  ///< how the simulated operation differs from the measured one
};

/// Name of the device description for a product: its own, but an H800, which differs from the H100 in NVLink and fp64
/// only, is simulated as one.
std::string device_for(const std::string& product);

/// Throws InputError with the reason when the record cannot be simulated on the device that stands for its product.
Expressed express(const Record& record, const device::Device& device);

}  // namespace memwall::validate
