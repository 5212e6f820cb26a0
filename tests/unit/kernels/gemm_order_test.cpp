// The GEMM's division of work: every tile and every step of k exactly once, whatever the shape, the split, the cluster
// and the panel; and tiles whose shared memory is what the arithmetic says.

#include "gemm_order.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "gemm_tiles.h"

namespace {

using memwall::kernels::GemmItem;
using memwall::kernels::GemmOrder;
using memwall::kernels::GemmTileShape;
using memwall::kernels::kGemmTiles;

/// How often each (m tile, n tile, step of k) is worked on.
std::map<std::tuple<int, int, int>, int> visits(const GemmOrder& order) {
    std::map<std::tuple<int, int, int>, int> count;
    for (int i = 0; i < order.items(); ++i) {
        const GemmItem item = order.item(i);
        for (int rank = 0; rank < order.cluster; ++rank) {
            for (int step = item.first_step; step < item.end_step; ++step) {
                ++count[{item.m_tile + rank, item.n_tile, step}];
            }
        }
    }
    return count;
}

TEST(GemmOrder, EveryTileAndStepOnce) {
    for (const int cluster : {1, 2}) {
        for (const int split : {1, 2, 4, 5, 7, 64}) {  // of 18 steps: 4 and 5 leave a shorter last part
            for (const int panel : {1, 3, 16}) {
                const auto order = GemmOrder::of(1000, 777, 1100, 128, 64, 64, cluster, split, panel);
                const auto count = visits(order);
                const int m_tiles = (8 + cluster - 1) / cluster * cluster;  // 1000 / 128 up, in whole clusters
                EXPECT_EQ(count.size(), static_cast<std::size_t>(m_tiles) * 13 * 18) << cluster << split << panel;
                for (const auto& [place, times] : count) ASSERT_EQ(times, 1);
            }
        }
    }
}

TEST(GemmOrder, NoPartOfASplitIsEmpty) {
    // 18 steps in 7 parts are shares of 3, and so 6 parts.
    const auto order = GemmOrder::of(128, 128, 18 * 64, 128, 128, 64, 1, 7, 1);
    EXPECT_EQ(order.splits, 6);
    for (int i = 0; i < order.items(); ++i) EXPECT_LT(order.item(i).first_step, order.item(i).end_step);
}

TEST(GemmOrder, APanelWalksItsRowsForEachColumn) {
    const auto order = GemmOrder::of(16 * 128, 4 * 256, 64, 128, 256, 64, 1, 1, 4);
    for (int i = 0; i < 16; ++i) {
        EXPECT_EQ(order.item(i).m_tile, i % 4);
        EXPECT_EQ(order.item(i).n_tile, i / 4);
    }
    EXPECT_EQ(order.item(16).m_tile, 4);
    EXPECT_EQ(order.item(16).n_tile, 0);
}

TEST(GemmOrder, TheLastPanelMayBeNarrow) {
    const auto order = GemmOrder::of(5 * 128, 2 * 128, 64, 128, 128, 64, 1, 1, 4);
    std::set<int> rows;
    for (int i = 8; i < order.items(); ++i) rows.insert(order.item(i).m_tile);
    EXPECT_EQ(rows, std::set<int>{4});
}

TEST(GemmTiles, SharedMemoryIsRingAndOutputAndBarriers) {
    constexpr GemmTileShape tile{2, 128, 256, 64, 2};
    EXPECT_EQ(tile.stage_bytes(), (128 + 256) * 64 * 2);
    // Four stages of 48 KiB, four blocks of 64 x 64 bf16, 1 KiB to align, 16 barriers.
    EXPECT_EQ(tile.smem_bytes(4), 4 * 49152 + 4 * 8192 + 1024 + 128);
    EXPECT_TRUE(tile.fits(4));
    EXPECT_FALSE(tile.fits(5));
}

TEST(GemmTiles, EachFitsWithTwoStagesAndHoldsItsAccumulators) {
    for (const GemmTileShape& tile : kGemmTiles) {
        EXPECT_TRUE(tile.fits(2));
        const int accumulators = tile.m * tile.n / (128 * tile.groups());
        EXPECT_LE(accumulators, 128) << tile.m << "x" << tile.n;  // of 255 registers a thread, beside addresses
        EXPECT_EQ(tile.k * tile.element_bytes % 128, 0);          // whole swizzled rows
    }
}

}  // namespace
