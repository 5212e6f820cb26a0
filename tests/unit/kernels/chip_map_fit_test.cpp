// The fits that read a chip's map out of latencies, on synthetic chips with a known answer and noise.

#include "chip_map_fit.h"

#include <gtest/gtest.h>

#include "permutation.h"

namespace {

using namespace memwall::kernels;

double noise(SplitMix& random, double amplitude) {
    return (static_cast<double>(random.below(2001)) / 1000 - 1) * amplitude;
}

TEST(TwoGroups, FindsNearAndFarThroughNoise) {
    SplitMix random(1);
    std::vector<double> latencies;
    for (int i = 0; i < 300; ++i) latencies.push_back((i % 3 == 0 ? 620 : 470) + noise(random, 40));
    const TwoGroups groups = two_groups(latencies);
    EXPECT_NEAR(groups.low_mean, 470, 6);
    EXPECT_NEAR(groups.high_mean, 620, 6);
    EXPECT_GT(groups.threshold, 510);
    EXPECT_LT(groups.threshold, 580);
    EXPECT_GT(groups.gap, 2.5);
}

TEST(TwoGroups, OneGroupHasNoGap) {
    SplitMix random(2);
    std::vector<double> latencies;
    for (int i = 0; i < 300; ++i) latencies.push_back(500 + noise(random, 40));
    EXPECT_LT(two_groups(latencies).gap, 2.0);
}

TEST(HomeMask, IsRecoveredFromNoisyHomes) {
    constexpr std::uint64_t kMask = 0xB3000;  // what was published for an H100
    SplitMix random(3);
    std::vector<std::uint64_t> addresses;
    std::vector<int> home;
    for (int i = 0; i < 2000; ++i) {
        addresses.push_back(random.below(std::uint64_t{1} << 21));
        const int parity = std::popcount(addresses.back() & kMask) & 1;
        home.push_back(random.below(50) == 0 ? parity : 1 - parity);  // the other polarity, 2 % wrong
    }
    const HomeMask fit = fit_home_mask(addresses, home, 12, 9);
    EXPECT_EQ(fit.mask, kMask);
    EXPECT_NEAR(fit.agreement, 0.98, 0.01);
}

TEST(HomeMask, RandomHomesFitNothing) {
    SplitMix random(4);
    std::vector<std::uint64_t> addresses;
    std::vector<int> home;
    for (int i = 0; i < 4000; ++i) {
        addresses.push_back(random.below(std::uint64_t{1} << 21));
        home.push_back(static_cast<int>(random.below(2)));
    }
    EXPECT_LT(fit_home_mask(addresses, home, 12, 9).agreement, 0.56);
}

TEST(Together, MergesGroupsThatShareAMember) {
    Together together(6);
    together.seen(0, 2);
    together.seen(5, 3);
    together.seen(2, 4);
    EXPECT_EQ(together.groups(), (std::vector<int>{0, 1, 0, 2, 0, 2}));
}

}  // namespace
