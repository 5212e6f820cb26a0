// Units that do not mix: picoseconds of simulated time, and cycles of a named clock.
//
// Simulated time is an integer number of picoseconds everywhere inside the model. `sc_time` appears only where a part
// meets the SystemC kernel. A cycle count means nothing without its clock, so it converts only through a `Clock`.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace memwall {

/// A point in simulated time, or a span of it, in picoseconds.
struct Ps {
    std::int64_t count = 0;

    friend constexpr auto operator<=>(Ps, Ps) = default;
    constexpr Ps& operator+=(Ps other) {
        count += other.count;
        return *this;
    }
    constexpr Ps& operator-=(Ps other) {
        count -= other.count;
        return *this;
    }
    friend constexpr Ps operator+(Ps a, Ps b) { return {a.count + b.count}; }
    friend constexpr Ps operator-(Ps a, Ps b) { return {a.count - b.count}; }
    friend constexpr Ps operator*(Ps a, std::int64_t n) { return {a.count * n}; }

    [[nodiscard]] constexpr double us() const { return static_cast<double>(count) * 1e-6; }
    [[nodiscard]] constexpr double ns() const { return static_cast<double>(count) * 1e-3; }
    [[nodiscard]] constexpr double seconds() const { return static_cast<double>(count) * 1e-12; }
};

/// Later than anything that happens.
inline constexpr Ps kNever{std::numeric_limits<std::int64_t>::max()};

constexpr Ps from_ns(double ns) {
    return {static_cast<std::int64_t>(ns * 1e3 + (ns < 0 ? -0.5 : 0.5))};
}

/// A clock domain: converts between its cycles and picoseconds. Conversions of a span round to the nearest picosecond,
/// so that an error does not accumulate over many cycles.
class Clock {
public:
    constexpr Clock() = default;
    explicit constexpr Clock(double mhz) : mhz_(mhz), period_ps_(1e6 / mhz) {}

    [[nodiscard]] constexpr double mhz() const { return mhz_; }
    [[nodiscard]] constexpr double period_ps() const { return period_ps_; }
    /// The span of `cycles` (which may be fractional: a share of a port's cycle).
    [[nodiscard]] constexpr Ps span(double cycles) const {
        return {static_cast<std::int64_t>(cycles * period_ps_ + 0.5)};
    }
    [[nodiscard]] constexpr double cycles(Ps span) const { return static_cast<double>(span.count) / period_ps_; }

private:
    double mhz_ = 1000.0;
    double period_ps_ = 1000.0;
};

}  // namespace memwall
