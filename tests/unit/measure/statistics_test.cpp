#include "statistics.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace {

using memwall::measure::summarise;

TEST(Summary, OfKnownSamples) {
    const std::array<double, 11> samples{10, 0, 9, 1, 8, 2, 7, 3, 6, 4, 5};
    const auto s = summarise(samples);
    EXPECT_DOUBLE_EQ(s.median, 5);
    EXPECT_DOUBLE_EQ(s.minimum, 0);
    EXPECT_DOUBLE_EQ(s.p10, 1);
    EXPECT_DOUBLE_EQ(s.p90, 9);
    EXPECT_EQ(s.count, 11U);
}

TEST(Summary, InterpolatesBetweenTwo) {
    const std::array<double, 2> samples{4, 2};
    const auto s = summarise(samples);
    EXPECT_DOUBLE_EQ(s.median, 3);
    EXPECT_DOUBLE_EQ(s.p10, 2.2);
    EXPECT_DOUBLE_EQ(s.p90, 3.8);
}

TEST(Summary, OfNothingIsAnError) {
    EXPECT_THROW((void)summarise({}), std::invalid_argument);
}

}  // namespace
