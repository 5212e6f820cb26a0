// Chains: one cycle that visits every place once, in an order that depends on the seed.

#include "permutation.h"

#include <gtest/gtest.h>

#include <set>

namespace {

using namespace memwall::kernels;

TEST(SingleCycle, VisitsEveryEntryOnceAndReturns) {
    for (const std::uint64_t entries : {1U, 2U, 3U, 1000U, 4096U}) {
        const auto successor = single_cycle(entries, 7);
        std::set<std::uint64_t> seen;
        std::uint64_t at = 0;
        for (std::uint64_t i = 0; i < entries; ++i) {
            EXPECT_TRUE(seen.insert(at).second);
            at = successor[at];
        }
        EXPECT_EQ(at, 0U);
        EXPECT_EQ(followed(successor, 0, entries), 0U);
    }
}

TEST(SingleCycle, OverSomePlacesLeavesTheOthersAlone) {
    const auto successor = single_cycle({2, 5, 7}, 9, 1);
    EXPECT_EQ(followed(successor, 2, 3), 2U);
    EXPECT_NE(successor[2], 2U);
    EXPECT_NE(followed(successor, 2, 1), followed(successor, 2, 2));
    for (const std::uint64_t other : {0U, 1U, 3U, 4U, 6U, 8U}) EXPECT_EQ(successor[other], other);
}

TEST(SingleCycle, JumpsFar) {
    // A stride that a prefetcher would guess is not random: neighbours follow each other about once in `entries`.
    const auto successor = single_cycle(10000, 3);
    int neighbours = 0;
    for (std::uint64_t i = 0; i < 10000; ++i) neighbours += successor[i] == i + 1;
    EXPECT_LT(neighbours, 10);
    EXPECT_NE(single_cycle(10000, 4), successor);
}

}  // namespace
