// Energy of a run, event by event, and the SM clock that the board's limit allows.
//
// Every byte and every FLOP that the chip counted costs what the device description says of its part; the die's share
// follows the square of its voltage, which follows the clock. Nothing here knows what the work was: a product on
// random data falls below the maximum clock because its tensor cores, shared memories and L2 are all busy, a stream
// does not because they are not. A board may draw more than its limit for some tens of milliseconds: what it holds
// under the limit is an average.
#pragma once

#include "base/observations.h"
#include "base/repetition.h"
#include "device/device.h"

namespace memwall::chip {

/// FLOPs of a run by what an operation of the tensor cores costs; those of the vector units are counted by the chip.
struct TensorWork {
    double bf16 = 0, fp16 = 0, eight_bit = 0, tf32 = 0;
};

/// Joules, at the voltage of the run's clock.
struct Energy {
    double hbm = 0, l2 = 0, crossbar = 0, link = 0, smem = 0, tensor = 0, vector = 0;
    double idle = 0;  ///< the board without work, for as long as the run took

    [[nodiscard]] double die() const { return l2 + crossbar + link + smem + tensor + vector; }
    [[nodiscard]] double total() const { return die() + hbm + idle; }
};

/// Voltage at an SM clock over that at the reference: 1 + slope * (mhz / reference - 1), not under 0.5.
double relative_voltage(const device::PowerParams& power, double mhz);

/// Energy of what `counted` counted in `elapsed_us`, at the device's SM clock.
Energy energy_of(const device::Device& device, const Counters& counted, const TensorWork& work, double elapsed_us);

/// The same work at other clocks: `energy` and `elapsed_us` are of a run at the device's SM clock, of which `fixed_us`
/// would take as long at any clock; the rest stretches with the clock's period.
struct WorkAtClocks {
    Energy energy;
    double elapsed_us = 0, fixed_us = 0;

    [[nodiscard]] double us_at(const device::Device& device, double mhz) const;
    [[nodiscard]] double watts_at(const device::Device& device, double mhz) const;
};

/// The highest clock, a multiple of the step and at most `highest_mhz`, at which the work draws no more than `limit_w`.
double clock_under(const device::Device& device, const WorkAtClocks& work, double limit_w, double highest_mhz);

/// The clock at which the operation takes what the timed ones of `repetition` take on average: that of the peak limit
/// until the filtered power reaches the board's limit, which is never for work that draws less, then that of the
/// latter. Like an Intel processor's PL2, PL1 and tau. `main` is the kernel that takes most of the work's energy: the
/// peak limit knows no average with small ones beside it.
double clock_of(const device::Device& device, const WorkAtClocks& work, const WorkAtClocks& main,
                const Repetition& repetition, double highest_mhz);

/// Microseconds of the tensor cores at their full rate and the device's SM clock.
double tensor_us(const device::Device& device, const TensorWork& work);

/// The SM clock where the board's power would allow any: the tensor cores' own boost if they take longer than memory,
/// `memory_us`, else the device's.
double highest_mhz(const device::Device& device, const TensorWork& work, double memory_us);

/// A first guess of clock_of() before anything was simulated: tensor cores nearly always busy, and what feeds them.
/// The highest clock for work that memory bounds.
double likely_mhz(const device::Device& device, const TensorWork& work, double memory_us, const Repetition& repetition);

}  // namespace memwall::chip
