// The tiles of attention: every visible pair of query and key in exactly one tile, none beyond, masks where they are
// needed, splits that cover the keys.

#include "attention_tiles.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace {

using namespace memwall::kernels;

TEST(AttentionTiles, VisibleTilesHoldEveryVisibleKeyAndNoEmptyTile) {
    for (const bool causal : {false, true}) {
        for (const int q : {1, 64, 100, 128, 200}) {
            for (const int kv : {200, 256, 333}) {
                for (const int tile_kv : {64, 128, 176}) {
                    for (int first = 0; first < q; first += 64) {
                        const int tiles = visible_tiles(causal, first, 64, q, kv, tile_kv);
                        int last_key = -1;
                        for (int row = first; row < std::min(first + 64, q); ++row) {
                            for (int key = 0; key < kv; ++key) {
                                if (sees(causal, row, key, q, kv)) last_key = std::max(last_key, key);
                            }
                        }
                        EXPECT_LT(last_key, tiles * tile_kv);
                        EXPECT_GE(last_key, (tiles - 1) * tile_kv);
                    }
                }
            }
        }
    }
}

TEST(AttentionTiles, ATileWithoutAMaskIsSeenByAllRows) {
    const int q = 200, kv = 333, tile_kv = 64;
    for (const bool causal : {false, true}) {
        for (int first = 0; first < q; first += 64) {
            for (int tile = 0; tile < 6; ++tile) {
                bool all = true;
                for (int row = first; row < first + 64; ++row) {
                    for (int key = tile * tile_kv; key < (tile + 1) * tile_kv; ++key)
                        all &= sees(causal, row, key, q, kv);
                }
                EXPECT_EQ(needs_mask(causal, tile, first, q, kv, tile_kv), !all) << causal << first << tile;
            }
        }
    }
}

TEST(AttentionTiles, ItemsAreAllTilesOnceAndTheLongestFirst) {
    for (const bool causal : {false, true}) {
        std::set<std::tuple<int, int, int>> seen;
        int before = 1 << 20;
        for (int index = 0; index < 2 * 3 * 5; ++index) {
            const PrefillItem item = prefill_item(index, 2, 3, 5, causal);
            EXPECT_TRUE(seen.insert({item.batch, item.head, item.q_tile}).second);
            EXPECT_LT(item.batch, 2);
            EXPECT_LT(item.head, 3);
            EXPECT_LT(item.q_tile, 5);
            EXPECT_TRUE(!causal || item.q_tile <= before);
            before = item.q_tile;
        }
    }
}

TEST(KeySplit, CoversTheKeysWithoutAnEmptyPart) {
    for (const int kv : {1, 63, 64, 65, 1000, 8192}) {
        for (const int wanted : {1, 2, 5, 31, 1000}) {
            const KeySplit split = KeySplit::of(kv, 64, wanted);
            int next = 0;
            for (int i = 0; i < split.splits; ++i) {
                EXPECT_EQ(split.first(i), next);
                EXPECT_GT(split.end(i), split.first(i));
                next = split.end(i);
            }
            EXPECT_EQ(next, (kv + 63) / 64);
            EXPECT_LE(split.splits, std::max(1, wanted));
        }
    }
}

TEST(KeySplit, TheRuleFillsTheChipWithFewParts) {
    EXPECT_EQ(splits_by_rule(264, 65536, 264), 1);
    EXPECT_EQ(splits_by_rule(32, 128, 264), 1);  // two tiles each is the least
    const int splits = splits_by_rule(32, 65536, 264);
    EXPECT_GE(32 * splits, 0.85 * 264);
    EXPECT_LE(splits, 9);
}

}  // namespace
