#include "trace/trace.h"

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
    for (int i = 0; i <= static_cast<int>(StepKind::chase); ++i) {
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
