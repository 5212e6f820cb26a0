#include "base/divisor.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace memwall {
namespace {

// Exact where a rounded reciprocal goes wrong first: just below and at multiples of the divisor, up to the largest
// number.
TEST(Divisor, IsExactAtTheEdges) {
    constexpr std::uint32_t kMost = 0xFFFFFFFF;
    for (const std::uint32_t divisor : {1U, 2U, 3U, 7U, 20U, 24U, 25U, 641U, 65535U, 65537U, 0x7FFFFFFFU}) {
        const Divisor d(divisor);
        EXPECT_EQ(d.value(), divisor);
        for (const std::uint32_t multiple : {0U, 1U, 2U, 1000U, kMost / divisor / 2, kMost / divisor}) {
            if (multiple > kMost / divisor) continue;
            for (const std::uint32_t n : {multiple * divisor - 1, multiple * divisor, multiple * divisor + 1, kMost}) {
                EXPECT_EQ(d.quotient(n), n / divisor) << n << " / " << divisor;
                EXPECT_EQ(d.remainder(n), n % divisor) << n << " % " << divisor;
            }
        }
    }
}

TEST(Divisor, DividesByOneUntilToldOtherwise) {
    EXPECT_EQ(Divisor().quotient(0xFFFFFFFF), 0xFFFFFFFFU);
    EXPECT_EQ(Divisor().remainder(12345), 0U);
}

}  // namespace
}  // namespace memwall
