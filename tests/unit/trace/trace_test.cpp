#include "trace/trace.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace memwall::trace {
namespace {

TEST(Names, EveryDtypeRuntimeAndStepIsFoundByItsName) {
    for (const Dtype d : {Dtype::fp32, Dtype::tf32, Dtype::fp16, Dtype::bf16, Dtype::fp8, Dtype::int8, Dtype::int4}) {
        EXPECT_EQ(dtype_from(name_of(d)), d);
    }
    EXPECT_EQ(bits_of(Dtype::tf32), 32);
    EXPECT_EQ(bits_of(Dtype::int4), 4);
    EXPECT_FALSE(dtype_from("float16"));
    for (int i = 0; i <= static_cast<int>(StepKind::wait_signal); ++i) {
        EXPECT_EQ(step_kind_from(name_of(static_cast<StepKind>(i))), static_cast<StepKind>(i));
    }
    EXPECT_STREQ(name_of(StepKind::wait_dependency), "wait_dependency");
    EXPECT_EQ(runtime_from("pdl"), Runtime::pdl);
    EXPECT_FALSE(runtime_from("eager"));
}

TEST(AffineTest, IsASumOfItsVariables) {
    std::array<std::int64_t, kVars> vars{};
    vars[1] = 5;
    vars[kWorkDims] = 7;
    const Affine a = (Affine::var(1, 3) + Affine::var(kWorkDims) + 2) * 10;
    EXPECT_EQ(a.at(vars), 10 * (15 + 7 + 2));
}

TEST(StepTurns, CoverTheLimitInWholeGrains) {
    Step step;
    step.kind = StepKind::loop_begin;
    step.count = 10;
    std::array<std::int64_t, kVars> vars{};
    EXPECT_EQ(step.turns(vars), 10);
    step.count_limit = Affine(129) + Affine::var(1, -64);
    step.limit_grain = 64;
    EXPECT_EQ(step.turns(vars), 3);
    vars[1] = 1;
    EXPECT_EQ(step.turns(vars), 2);
    vars[1] = 5;
    EXPECT_EQ(step.turns(vars), 0);
    step.count = 1;
    vars[1] = 0;
    EXPECT_EQ(step.turns(vars), 1);
}

TEST(AddTensor, AlignsToPagesAndNeverOverlaps) {
    Trace t;
    const int a = t.add_tensor("a", Dtype::bf16, {3, 5});
    const int b = t.add_tensor("b", Dtype::int4, {64, 64});
    const Tensor& first = t.tensors[static_cast<std::size_t>(a)];
    const Tensor& second = t.tensors[static_cast<std::size_t>(b)];
    EXPECT_NE(first.base, 0U);
    EXPECT_EQ(first.base % (2U << 20), 0U);
    EXPECT_EQ(second.base, first.base + (2U << 20));
    EXPECT_EQ(first.stride_bytes[0], 10);
    EXPECT_EQ(second.stride_bytes[0], 32);
    EXPECT_EQ(second.footprint_bytes(), 64U * 32U);
    EXPECT_THROW(t.add_tensor("c", Dtype::bf16, {}), InputError);
    EXPECT_THROW(t.add_tensor("c", Dtype::bf16, {4, 0}), InputError);
}

struct GridCase {
    std::array<std::int64_t, kWorkDims> extent;
    std::int64_t panel;
    int cluster, cluster_dim;
};

void PrintTo(const GridCase& c, std::ostream* out) {
    *out << fmt::format("{} panel {} cluster {}", fmt::join(c.extent, "x"), c.panel, c.cluster);
}

class Coordinates : public ::testing::TestWithParam<GridCase> {};

TEST_P(Coordinates, VisitEveryItemExactlyOnce) {
    const GridCase& c = GetParam();
    WorkGrid w;
    w.extent = c.extent;
    w.panel = c.panel;
    w.cluster = c.cluster;
    w.cluster_dim = c.cluster_dim;
    std::set<std::array<std::int64_t, kWorkDims>> seen;
    std::int64_t beyond = 0;
    for (std::int64_t i = 0; i < w.cluster_items(); ++i) {
        for (int rank = 0; rank < c.cluster; ++rank) {
            const auto at = w.coordinates(i, rank);
            EXPECT_TRUE(seen.insert(at).second);
            for (std::size_t d = 0; d < kWorkDims; ++d) {
                EXPECT_GE(at[d], 0);
                if (static_cast<int>(d) != c.cluster_dim) {
                    EXPECT_LT(at[d], w.extent[d]);
                }
            }
            if (at[static_cast<std::size_t>(c.cluster_dim)] >= w.extent[static_cast<std::size_t>(c.cluster_dim)])
                ++beyond;
        }
    }
    EXPECT_EQ(static_cast<std::int64_t>(seen.size()) - beyond, w.items());
}

INSTANTIATE_TEST_SUITE_P(Grids, Coordinates,
                         ::testing::Values(GridCase{{2, 3, 4, 5}, 0, 1, 1}, GridCase{{1, 20, 7, 1}, 8, 1, 1},
                                           GridCase{{2, 20, 7, 3}, 8, 2, 1}, GridCase{{1, 5, 3, 2}, 2, 2, 1},
                                           GridCase{{1, 6, 9, 1}, 0, 4, 2}, GridCase{{1, 1, 132, 1}, 0, 1, 1}));

struct StreamCase {
    std::int64_t tiles, steps, units;
};

void PrintTo(const StreamCase& c, std::ostream* out) {
    *out << fmt::format("{} tiles of {} steps by {}", c.tiles, c.steps, c.units);
}

class StreamK : public ::testing::TestWithParam<StreamCase> {
protected:
    /// By unit, its pieces in order.
    [[nodiscard]] static std::vector<std::vector<Piece>> deal() {
        const StreamCase& c = GetParam();
        WorkGrid w;
        w.extent = {1, 1, c.tiles, 1};
        w.persistent = true;
        w.stream_steps = c.steps;
        std::vector<std::vector<Piece>> units(static_cast<std::size_t>(c.units));
        for (std::int64_t u = 0; u < c.units; ++u) {
            for (std::int64_t i = 0; const auto piece = w.piece(u, c.units, i); ++i)
                units[static_cast<std::size_t>(u)].push_back(*piece);
        }
        return units;
    }
};

TEST_P(StreamK, EveryStepOfEveryTileIsDoneOnceAndNobodyHasMoreThanOneStepMore) {
    const StreamCase& c = GetParam();
    std::set<std::pair<std::int64_t, std::int64_t>> done;
    std::int64_t least = c.tiles * c.steps, most = 0;
    for (const auto& unit : deal()) {
        std::int64_t mine = 0;
        for (const Piece& piece : unit) {
            EXPECT_GE(piece.steps, 1);
            EXPECT_LE(piece.begin + piece.steps, c.steps);
            for (std::int64_t k = 0; k < piece.steps; ++k)
                EXPECT_TRUE(done.insert({piece.tile, piece.begin + k}).second);
            mine += piece.steps;
        }
        least = std::min(least, mine);
        most = std::max(most, mine);
    }
    EXPECT_EQ(static_cast<std::int64_t>(done.size()), c.tiles * c.steps);
    EXPECT_LE(most - least, 1);
}

TEST_P(StreamK, WhoBeginsATileIsFollowedByThoseThatDoItsRestWithTheirFirstPiece) {
    const auto units = deal();
    std::set<std::size_t> waited_for;
    for (std::size_t u = 0; u < units.size(); ++u) {
        for (const Piece& piece : units[u]) {
            if (piece.begin > 0) continue;
            std::int64_t reached = piece.steps;
            for (std::size_t peer = u + 1; peer <= u + static_cast<std::size_t>(piece.peers); ++peer) {
                ASSERT_LT(peer, units.size());
                const Piece& first = units[peer].front();
                EXPECT_EQ(first.tile, piece.tile);
                EXPECT_EQ(first.begin, reached);
                reached += first.steps;
                EXPECT_TRUE(waited_for.insert(peer).second);
            }
            EXPECT_EQ(reached, GetParam().steps);
        }
    }
    // Nobody leaves sums that nobody waits for.
    for (std::size_t u = 0; u < units.size(); ++u) {
        for (std::size_t i = 0; i < units[u].size(); ++i)
            EXPECT_EQ(units[u][i].begin > 0, i == 0 && waited_for.count(u) == 1);
    }
}

INSTANTIATE_TEST_SUITE_P(Deals, StreamK,
                         ::testing::Values(StreamCase{144, 64, 132}, StreamCase{132, 64, 132}, StreamCase{3, 64, 132},
                                           StreamCase{3, 5, 132}, StreamCase{1, 1, 1}, StreamCase{7, 3, 4},
                                           StreamCase{530, 7, 66}, StreamCase{264, 9, 132}, StreamCase{133, 1, 132}));

TEST(CoordinatesOrder, APanelIsWalkedForEachColumn) {
    WorkGrid w;
    w.extent = {1, 4, 3, 1};
    w.panel = 2;
    EXPECT_EQ(w.coordinates(0, 0), (std::array<std::int64_t, kWorkDims>{0, 0, 0, 0}));
    EXPECT_EQ(w.coordinates(1, 0), (std::array<std::int64_t, kWorkDims>{0, 1, 0, 0}));
    EXPECT_EQ(w.coordinates(2, 0), (std::array<std::int64_t, kWorkDims>{0, 0, 1, 0}));
    EXPECT_EQ(w.coordinates(6, 0), (std::array<std::int64_t, kWorkDims>{0, 2, 0, 0}));
}

}  // namespace
}  // namespace memwall::trace
