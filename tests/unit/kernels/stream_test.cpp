// Streams: every piece of a footprint is touched once a pass, by one thread, wherever the pattern says.

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "stream_layout.h"

namespace {

using namespace memwall::kernels;

/// How often each piece is touched by all threads of all CTAs.
std::vector<int> touches(std::uint32_t pieces, std::uint32_t ctas, std::uint32_t threads) {
    std::vector<int> count(pieces);
    for (std::uint32_t cta = 0; cta < ctas; ++cta) {
        for (std::uint32_t thread = 0; thread < threads; ++thread) {
            const ThreadWalk walk = thread_walk(cta, ctas, thread, threads, pieces);
            for (std::uint32_t i = 0; i < walk.count(); ++i) ++count.at(walk.first + i * walk.step);
        }
    }
    return count;
}

TEST(ThreadWalk, TouchesEveryPieceOnce) {
    // Even shares, a last block that is cut, fewer blocks than CTAs, fewer pieces than threads.
    for (const std::uint32_t pieces : {4096U, 4097U, 1000U, 128U, 33U, 1U}) {
        EXPECT_EQ(touches(pieces, 5, 64), std::vector<int>(pieces, 1)) << pieces;
    }
}

TEST(ThreadWalk, ABlockIsTheCtasThreadsSideBySideAndTheNextIsAllCtasOn) {
    const ThreadWalk walk = thread_walk(2, 4, 7, 32, 1000);
    EXPECT_EQ(walk.first, 2U * 32 + 7);
    EXPECT_EQ(walk.first + walk.step, 6U * 32 + 7);
}

TEST(PieceOrder, APatternTouchesTheFirstBytesOfEachStride) {
    const PieceOrder order = piece_order(4096, 64, 256, false);
    EXPECT_EQ(order.pieces, 4096U / 256 * 4);
    std::set<std::uint64_t> offsets;
    for (std::uint32_t piece = 0; piece < order.pieces; ++piece) {
        const std::uint64_t at = order.offset<false>(piece);
        EXPECT_LT(at % 256, 64U);
        EXPECT_EQ(at % 16, 0U);
        EXPECT_LE(at + 16, 4096U);
        EXPECT_TRUE(offsets.insert(at).second);
    }
}

TEST(PieceOrder, WithoutAPatternPiecesFollowEachOtherBeyondFourGigabytes) {
    const PieceOrder order = piece_order(std::int64_t{8} << 30, 0, 0, false);
    EXPECT_EQ(order.offset<false>(1), 16U);
    EXPECT_EQ(order.offset<false>(order.pieces - 1), (std::uint64_t{8} << 30) - 16);
}

TEST(PieceOrder, ScatteredSectorsAreAllTouchedOnceAndFarApart) {
    const PieceOrder order = piece_order(1 << 20, 32, 32, true);
    std::set<std::uint64_t> offsets;
    int neighbours = 0;
    for (std::uint32_t piece = 0; piece < order.pieces; ++piece) {
        offsets.insert(order.offset<true>(piece));
        if (piece % 2 == 1) {
            EXPECT_EQ(order.offset<true>(piece), order.offset<true>(piece - 1) + 16);
        } else if (piece > 0) {
            neighbours += order.offset<true>(piece) / 128 == order.offset<true>(piece - 1) / 128;
        }
    }
    EXPECT_EQ(offsets.size(), (1U << 20) / 16);
    EXPECT_EQ(*offsets.rbegin(), (1U << 20) - 16);
    EXPECT_LT(neighbours, 100);  // of 32,767
}

TEST(Scattered, IsAPermutationOfAnyPowerOfTwo) {
    for (const int bits : {2, 3, 7, 12, 17}) {
        std::set<std::uint32_t> seen;
        for (std::uint32_t i = 0; i < 1U << bits; ++i) seen.insert(scattered(i, bits));
        EXPECT_EQ(seen.size(), 1U << bits);
        EXPECT_LT(*seen.rbegin(), 1U << bits);
    }
}

TEST(WrittenWord, PiecesDifferAndNoneIsThePoison) {
    std::set<std::uint32_t> firsts;
    double ones = 0;
    for (std::uint32_t piece = 0; piece < 100000; ++piece) {
        firsts.insert(written_word(piece, 0));
        for (int word = 0; word < 4; ++word) ones += __builtin_popcount(written_word(piece, word));
    }
    EXPECT_EQ(firsts.size(), 100000U);
    EXPECT_NEAR(ones / (100000.0 * 128), 0.5, 0.02);
}

TEST(LimitingSharedMemory, HoldsJustSoManyCtas) {
    for (int ctas = 1; ctas <= 8; ++ctas) {
        const int taken = limiting_smem_bytes(ctas) + 1024;
        EXPECT_LE(ctas * (taken + 256), 233472);
        EXPECT_GT((ctas + 1) * taken, 233472);
    }
}

}  // namespace
