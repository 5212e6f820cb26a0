// Walking boxes: every byte once, nothing beyond the tensor, pieces that end at granules.
#include "chip/sm/transfer.h"

#include <gtest/gtest.h>

#include <set>

namespace memwall::chip {
namespace {

trace::Tensor matrix(std::int64_t rows, std::int64_t cols, trace::Dtype dtype = trace::Dtype::bf16) {
    trace::Tensor tensor;
    tensor.base = 1 << 21;
    tensor.dtype = dtype;
    tensor.rank = 2;
    tensor.shape = {rows, cols};
    tensor.stride_bytes = {cols * trace::bits_of(dtype) / 8, trace::bits_of(dtype) / 8};
    return tensor;
}

/// Bytes that a walk touches; fails when one is touched twice or a piece crosses a granule.
std::set<std::uint64_t> walk(BoxWalk box) {
    std::set<std::uint64_t> bytes;
    for (; !box.done(); box.advance()) {
        const auto piece = box.piece();
        EXPECT_EQ(piece.address / 1024, (piece.address + piece.bytes - 1) / 1024);
        for (std::uint64_t b = 0; b < piece.bytes; ++b) EXPECT_TRUE(bytes.insert(piece.address + b).second);
    }
    return bytes;
}

TEST(BoxWalk, TouchesExactlyTheBox) {
    const auto tensor = matrix(64, 4096);
    const auto bytes = walk(BoxWalk(tensor, {3, 128}, {5, 64}, 1024));
    EXPECT_EQ(bytes.size(), 5U * 64 * 2);
    for (std::uint64_t row = 3; row < 8; ++row) {
        EXPECT_TRUE(bytes.contains(tensor.base + row * 8192 + 256));
        EXPECT_FALSE(bytes.contains(tensor.base + row * 8192 + 255));
        EXPECT_FALSE(bytes.contains(tensor.base + row * 8192 + 256 + 128));
    }
}

TEST(BoxWalk, MergesRowsThatLieDensely) {
    const auto tensor = matrix(64, 256);
    BoxWalk box(tensor, {4, 0}, {8, 256}, 1024);  // 8 whole rows of 512 bytes: 4 KiB in one run
    int pieces = 0;
    for (BoxWalk copy = box; !copy.done(); copy.advance(), ++pieces) EXPECT_EQ(copy.piece().bytes, 1024U);
    EXPECT_EQ(pieces, 4);
}

TEST(BoxWalk, IsClippedAtTheEdge) {
    const auto tensor = matrix(10, 100);
    EXPECT_EQ(BoxWalk(tensor, {8, 64}, {4, 64}, 1024).bytes(), 2 * 36 * 2);
    EXPECT_EQ(BoxWalk(tensor, {12, 0}, {4, 64}, 1024).bytes(), 0);
    EXPECT_TRUE(BoxWalk(tensor, {12, 0}, {4, 64}, 1024).done());
}

TEST(BoxWalk, ScattersPagesOverTheSameFootprint) {
    auto contiguous = matrix(1024, 128);
    auto paged = contiguous;
    paged.paged_dim = 0;
    paged.page_extent = 16;
    const auto all = walk(BoxWalk(paged, {0, 0}, {1024, 128}, 1024));
    EXPECT_EQ(all, walk(BoxWalk(contiguous, {0, 0}, {1024, 128}, 1024)));
    // A page is contiguous, its neighbour is elsewhere.
    const auto page0 = walk(BoxWalk(paged, {0, 0}, {16, 128}, 1024));
    EXPECT_EQ(*page0.rbegin() - *page0.begin() + 1, 16U * 256);
    const auto page1 = walk(BoxWalk(paged, {16, 0}, {16, 128}, 1024));
    EXPECT_NE(*page1.begin(), *page0.rbegin() + 1);
}

TEST(BoxWalk, PagesThatTheTensorDoesNotFillStayInItsFootprint) {
    // 3 sequences of 100 rows in pages of 16: the seventh page of each is a quarter full.
    trace::Tensor paged;
    paged.base = 1 << 21;
    paged.dtype = trace::Dtype::bf16;
    paged.rank = 3;
    paged.shape = {3, 100, 128};
    paged.stride_bytes = {100 * 256, 256, 2};
    paged.paged_dim = 1;
    paged.page_extent = 16;
    EXPECT_EQ(paged.footprint_bytes(), 3U * 7 * 16 * 256);
    std::set<std::uint64_t> all;
    for (std::int64_t sequence = 0; sequence < 3; ++sequence) {
        for (const std::uint64_t byte : walk(BoxWalk(paged, {sequence, 0, 0}, {1, 100, 128}, 1024)))
            EXPECT_TRUE(all.insert(byte).second);
    }
    EXPECT_EQ(all.size(), 3U * 100 * 256);
    EXPECT_GE(*all.begin(), paged.base);
    EXPECT_LT(*all.rbegin(), paged.base + paged.footprint_bytes());
}

TEST(BoxWalk, HeadsThatLieInsideAPageShareIt) {
    // A cache of 2 sequences, 4 heads, 64 tokens of 128 fp16: [sequence][token][head][dim] in memory, pages of 16
    // tokens.
    trace::Tensor cache;
    cache.dtype = trace::Dtype::fp16;
    cache.rank = 4;
    cache.shape = {2, 4, 64, 128};
    cache.stride_bytes = {64 * 4 * 256, 256, 4 * 256, 2};
    cache.paged_dim = 2;
    cache.page_extent = 16;
    const auto whole = walk(BoxWalk(cache, {0, 0, 0, 0}, {2, 4, 64, 128}, 2048));
    EXPECT_EQ(whole.size(), 2U * 64 * 4 * 256);  // every byte once: no two pages fall together
    EXPECT_EQ(*whole.rbegin() + 1, whole.size());
    const auto head0 = walk(BoxWalk(cache, {0, 0, 16, 0}, {1, 1, 1, 128}, 2048));
    const auto head3 = walk(BoxWalk(cache, {0, 3, 16, 0}, {1, 1, 1, 128}, 2048));
    EXPECT_EQ(*head3.begin() - *head0.begin(), 3U * 256);
    const auto next = walk(BoxWalk(cache, {0, 0, 17, 0}, {1, 1, 1, 128}, 2048));
    EXPECT_EQ(*next.begin() - *head0.begin(), 4U * 256);
}

}  // namespace
}  // namespace memwall::chip
