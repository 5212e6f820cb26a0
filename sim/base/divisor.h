// Division by a number that is known once: a multiplication in place of the host's slowest instruction.
#pragma once

#include <cstdint>

namespace memwall {

/// Divides 32-bit numbers by `divisor`, 1 to 2^31 - 1, exactly: the reciprocal is rounded up at 63 bits, so the product
/// is too large by at most n / 2^63, which is less than the 1 / divisor that a quotient may lack to the next whole
/// number.
class Divisor {
public:
    Divisor() = default;
    explicit Divisor(std::uint32_t divisor) : divisor_(divisor), reciprocal_((1ULL << kBits) / divisor + 1) {}

    [[nodiscard]] std::uint32_t value() const { return divisor_; }
    [[nodiscard]] std::uint32_t quotient(std::uint32_t n) const {
        return static_cast<std::uint32_t>(static_cast<Wide>(n) * reciprocal_ >> kBits);
    }
    [[nodiscard]] std::uint32_t remainder(std::uint32_t n) const { return n - quotient(n) * divisor_; }

private:
    __extension__ using Wide = unsigned __int128;
    static constexpr int kBits = 63;

    std::uint32_t divisor_ = 1;
    std::uint64_t reciprocal_ = (1ULL << kBits) + 1;
};

}  // namespace memwall
