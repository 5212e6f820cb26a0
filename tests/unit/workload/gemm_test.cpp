// A product's trace covers the product: every output once, every pair of A and B tiles once.
#include "workload/gemm.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "device/reader.h"
#include "trace/check.h"
#include "unit/workload/walk.h"

namespace memwall::workload {
namespace {

using trace::StepKind;

const device::Device& h100() {
    static const device::Device d = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return d;
}

struct Product {
    GemmShape shape;
    ScheduleWish wish;
};

void PrintTo(const Product& p, std::ostream* out) {
    const auto& [shape, wish] = p;
    *out << fmt::format("{}x{}x{}", shape.m, shape.n, shape.k);
    if (shape.batch > 1) *out << " batch " << shape.batch;
    *out << " " << trace::name_of(shape.dtype);
    if (wish.tile) *out << fmt::format(" in {}", fmt::join(*wish.tile, "x"));
    if (wish.stages) *out << " stages " << *wish.stages;
    if (wish.cluster) *out << " cluster " << *wish.cluster;
    if (wish.split) *out << " split " << *wish.split;
    if (wish.stream_k.value_or(false)) *out << " stream_k";
    if (wish.store) *out << (*wish.store == StoreBy::vector ? " by vectors" : " by scalars");
}

ScheduleWish wish_of(std::array<int, 3> tile, int cluster, int split, std::optional<int> stages = {}) {
    ScheduleWish wish;
    wish.tile = tile;
    wish.cluster = cluster;
    wish.split = split;
    wish.stages = stages;
    return wish;
}

ScheduleWish streamed(std::array<int, 3> tile, int cluster) {
    ScheduleWish wish;
    wish.tile = tile;
    wish.cluster = cluster;
    wish.stream_k = true;
    return wish;
}

ScheduleWish stored(std::array<int, 3> tile, StoreBy store) {
    ScheduleWish wish;
    wish.tile = tile;
    wish.store = store;
    return wish;
}

class Gemm : public ::testing::TestWithParam<Product> {
protected:
    void SetUp() override {
        const auto& [shape, wish] = GetParam();
        tensors_ = add_gemm_tensors(trace_, shape, "gemm");
        schedule_ = choose_gemm(shape, wish, h100());
        append_gemm(trace_, shape, tensors_, schedule_, "gemm", h100());
    }
    [[nodiscard]] const trace::Kernel& kernel() const { return trace_.kernels.front(); }

    trace::Trace trace_;
    GemmTensors tensors_{};
    GemmSchedule schedule_{};
};

TEST_P(Gemm, PassesTheCheck) {
    EXPECT_NO_THROW(trace::check(trace_));
}

TEST_P(Gemm, WritesEveryOutputOnceAndPartialSumsOnceForEachSplit) {
    const bool split = schedule_.split > 1;
    EXPECT_EQ(trace_.kernels.size(), split ? 2U : 1U);
    EXPECT_TRUE(test::all_are(test::touched(trace_, kernel(), StepKind::store, tensors_.c), split ? 0 : 1));
    if (!split) return;
    int slabs = -1;
    for (const trace::Step& step : kernel().roles.back().steps) {
        if (step.kind == StepKind::store) slabs = step.tensor;
    }
    const GemmShape& s = GetParam().shape;
    EXPECT_EQ(trace_.tensors[static_cast<std::size_t>(slabs)].shape[0], schedule_.split * s.batch);
    EXPECT_TRUE(test::all_are(test::touched(trace_, kernel(), StepKind::store, slabs), 1));
}

TEST_P(Gemm, NothingFollowsAStoreOfRegistersBeforeTheyAreRead) {
    for (const trace::Role& role : kernel().roles) {
        for (std::size_t i = 0; i < role.steps.size(); ++i) {
            if (role.steps[i].kind != StepKind::store || role.steps[i].path == trace::LoadPath::tma) continue;
            ASSERT_LT(i + 1, role.steps.size());
            const StepKind next = role.steps[i + 1].kind;
            EXPECT_TRUE(next == StepKind::wait_reads || next == StepKind::wait_stores);
        }
    }
}

// A TMA's staging buffer holds a part of the tile: it is filled when it has been read, and what is read while the next
// tile is begun fits it.
TEST_P(Gemm, AStagingBufferIsReadBeforeItIsFilledAgain) {
    const trace::Role& consumer = kernel().roles.back();
    std::int64_t unread = 0;
    bool leaves_by_tma = false;
    for (const trace::Step& step : consumer.steps) {
        if (step.kind == StepKind::wait_reads) unread = 0;
        if (step.kind != StepKind::store || step.path != trace::LoadPath::tma) continue;
        leaves_by_tma = true;
        const trace::Tensor& out = trace_.tensors[static_cast<std::size_t>(step.tensor)];
        std::int64_t bytes = trace::bits_of(out.dtype) / 8;
        for (int d = 0; d < out.rank; ++d) bytes *= step.box[static_cast<std::size_t>(d)];
        unread += bytes;
    }
    if (!leaves_by_tma) return;
    if (!schedule_.persistent) {
        EXPECT_EQ(unread, 0);  // nor does its CTA leave before
        return;
    }
    EXPECT_LE(unread, schedule_.epilogue_bytes / schedule_.groups());
    // The epilogue, which fills it, is the last work of the vector units.
    const auto fills = std::find_if(consumer.steps.rbegin(), consumer.steps.rend(),
                                    [](const trace::Step& step) { return step.kind == StepKind::vector; });
    EXPECT_EQ(std::next(fills)->kind, StepKind::wait_reads);
}

TEST_P(Gemm, TheFoldReadsEveryPartialSumAndWritesEveryOutputOnce) {
    if (schedule_.split == 1) return;
    const trace::Kernel& fold = trace_.kernels.back();
    EXPECT_EQ(fold.name, "gemm.fold");
    int read = -1, written = -1;
    for (const trace::Step& step : fold.roles.front().steps) {
        if (step.kind == StepKind::load) read = step.tensor;
        if (step.kind == StepKind::store) written = step.tensor;
    }
    const auto& tensor = [&](int index) -> const trace::Tensor& {
        return trace_.tensors[static_cast<std::size_t>(index)];
    };
    EXPECT_TRUE(test::all_are(test::touched(trace_, fold, StepKind::load, read), 1));
    EXPECT_TRUE(test::all_are(test::touched(trace_, fold, StepKind::store, written), 1));
    EXPECT_EQ(tensor(written).base, tensor(tensors_.c).base);
    EXPECT_EQ(tensor(read).base, tensor(test::tensor_named(trace_, "gemm.partials")).base);
}

TEST_P(Gemm, StreamedPartialSumsAreReadOnceByWhomTheyAreSignalledTo) {
    if (!schedule_.stream_k) return;
    const int slabs = static_cast<int>(trace_.tensors.size()) - 1;  // the view of the workspace
    const auto stored = test::touched(trace_, kernel(), StepKind::store, slabs);
    EXPECT_EQ(stored, test::touched(trace_, kernel(), StepKind::load, slabs));
    EXPECT_GT(std::count(stored.begin(), stored.end(), 1), 0);
    EXPECT_EQ(std::count(stored.begin(), stored.end(), 0) + std::count(stored.begin(), stored.end(), 1),
              static_cast<std::ptrdiff_t>(stored.size()));
    std::map<std::int64_t, int> signals, waits;
    test::walk(kernel(), [&](const trace::Role&, const trace::Step& step, const test::Vars& vars) {
        if (step.kind == StepKind::signal) ++signals[step.origin[0].at(vars)];
        if (step.kind == StepKind::wait_signal) ++waits[step.origin[0].at(vars)];
    });
    EXPECT_EQ(signals, waits);
    for (const auto& [flag, times] : signals) EXPECT_EQ(times, 1) << flag;
}

TEST_P(Gemm, ReadsEachOperandOncePerTileOfTheOther) {
    const GemmShape& s = GetParam().shape;
    const auto m_tiles = static_cast<int>((s.m + schedule_.tile[0] - 1) / schedule_.tile[0]);
    const auto n_tiles = static_cast<int>((s.n + schedule_.tile[1] - 1) / schedule_.tile[1]);
    // A cluster that reaches beyond the last m tile still fetches B for its peers.
    const int clusters = (m_tiles + schedule_.cluster - 1) / schedule_.cluster * schedule_.cluster;
    EXPECT_TRUE(test::all_are(test::touched(trace_, kernel(), StepKind::load, tensors_.a), n_tiles));
    EXPECT_TRUE(test::all_are(test::touched(trace_, kernel(), StepKind::load, tensors_.b), clusters));
}

TEST_P(Gemm, MultipliesAsOftenAsItHasTilePairs) {
    const GemmShape& s = GetParam().shape;
    double flops = 0, slots = 0;
    bool holds_stage = false;  // between a stage's arrival and its release; what follows the last is the epilogue
    test::walk(kernel(), [&](const trace::Role&, const trace::Step& step, const test::Vars&) {
        if (step.ring == 0 && step.kind == StepKind::wait_full) holds_stage = true;
        if (step.ring == 0 && step.kind == StepKind::release) holds_stage = false;
        if (step.kind == StepKind::mma) flops += 2.0 * step.mma.m * step.mma.n * step.mma.k;
        if (step.kind == StepKind::vector && holds_stage) slots += step.vec.fp32_ops;
    });
    if (!schedule_.fma) {
        EXPECT_GE(flops, kernel().flops);
    } else {
        EXPECT_EQ(flops, 0);
        const auto whole = [](std::int64_t extent, std::int64_t tile) { return (extent + tile - 1) / tile * tile; };
        const auto& t = schedule_.tile;
        const auto padded = static_cast<double>(whole(s.m, std::int64_t{t[0]} * schedule_.cluster) * whole(s.n, t[1]) *
                                                whole(s.k, t[2]) * s.batch);
        EXPECT_NEAR(slots, padded * (schedule_.skinny ? 1 : fma_slots(schedule_.accumulators())), 1e-9 * slots);
    }
    EXPECT_EQ(kernel().flops, 2.0 * static_cast<double>(s.m * s.n * s.k * s.batch));
    EXPECT_EQ(kernel().tensor_cores, !schedule_.fma);
}

TEST_P(Gemm, KnowsItsCompulsoryBytes) {
    const GemmShape& s = GetParam().shape;
    const auto bytes = [&](std::int64_t elements, trace::Dtype dtype) {
        return static_cast<std::uint64_t>(elements * s.batch * trace::bits_of(dtype) / 8);
    };
    EXPECT_EQ(kernel().compulsory_read_bytes, bytes(s.m * s.k, s.dtype) + bytes(s.n * s.k, s.weights_dtype));
    EXPECT_EQ(kernel().compulsory_write_bytes, bytes(s.m * s.n, s.out_dtype));
}

std::vector<Product> products() {
    using trace::Dtype;
    return {{{1, 512, 2048}, {}},
            {{4, 300, 1000}, {}},
            {{8, 256, 512, 1, Dtype::bf16, Dtype::int4}, {}},
            {{17, 200, 700}, {}},
            {{64, 256, 1024, 1, Dtype::fp8, Dtype::fp8}, {}},
            {{64, 128, 4096}, {}},
            {{65, 192, 256}, {}},
            {{300, 500, 200}, wish_of({128, 128, 64}, 1, 1)},
            {{384, 256, 512}, wish_of({128, 128, 64}, 2, 1)},
            {{512, 512, 512}, wish_of({128, 256, 64}, 2, 3)},
            {{256, 256, 256}, wish_of({64, 64, 64}, 4, 2)},
            {{192, 256, 128}, wish_of({192, 128, 64}, 1, 1)},
            {{512, 128, 128}, wish_of({256, 128, 64}, 2, 1)},
            {{270, 256, 256}, wish_of({136, 128, 64}, 2, 1)},
            {{100, 512, 256}, wish_of({56, 256, 64}, 1, 2)},
            {{2, 300, 1000}, wish_of({2, 16, 512}, 1, 1)},
            {{256, 256, 320}, wish_of({128, 128, 64}, 1, 1, 1)},
            {{128, 128, 64, 3}, {}},
            {{256, 128, 128, 2}, wish_of({128, 64, 64}, 2, 1)},
            {{512, 512, 256}, stored({128, 256, 64}, StoreBy::vector)},
            {{300, 500, 200}, stored({128, 128, 64}, StoreBy::scalar)},
            {{384, 512, 1100}, streamed({128, 256, 64}, 1)},  // fewer tiles than SMs
            {{1200, 1000, 640}, streamed({64, 128, 64}, 1)},  // a wave and a part
            {{1216, 1000, 640}, streamed({64, 64, 64}, 2)},   // pairs of CTAs, an odd number of m tiles
            {{264, 512, 1536}, streamed({136, 128, 64}, 2)},  // tokens on the columns
            {{4, 2304, 3000}, streamed({4, 64, 512}, 1)},     // weights streamed
            {{192, 256, 1024, 3}, streamed({128, 128, 64}, 1)},
            // On the fp32 lanes.
            {{300, 500, 200, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, {}},
            {{40, 512, 1024, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, {}},
            {{8, 256, 512, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, {}},
            {{100, 512, 256, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, wish_of({32, 128, 32}, 1, 2)},
            {{96, 256, 256, 3, Dtype::fp32, Dtype::fp32, Dtype::fp32}, {}},
            {{512, 256, 256, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, wish_of({128, 128, 32}, 2, 2)},
            {{384, 512, 1100, 1, Dtype::fp32, Dtype::fp32, Dtype::fp32}, streamed({128, 128, 32}, 1)}};
}

INSTANTIATE_TEST_SUITE_P(Products, Gemm, ::testing::ValuesIn(products()));

TEST(GemmTrace, HasTheSameSizeForEverySizeOfMatrix) {
    const auto steps = [](std::int64_t n) {
        trace::Trace t;
        const GemmShape shape{n, n, n};
        append_gemm(t, shape, add_gemm_tensors(t, shape, "g"), choose_gemm(shape, {}, h100()), "g", h100());
        std::size_t count = 0;
        for (const auto& role : t.kernels[0].roles) count += role.steps.size();
        return count;
    };
    EXPECT_EQ(steps(4096), steps(65536));
}

TEST(GemmTrace, OnlyTheWeightsRunAheadOfTheKernelBefore) {
    trace::Trace t;
    const GemmShape shape{1, 4096, 4096};
    append_gemm(t, shape, add_gemm_tensors(t, shape, "g"), choose_gemm(shape, {}, h100()), "g", h100());
    for (const auto& role : t.kernels[0].roles) {
        std::set<StepKind> kinds;
        for (const auto& step : role.steps) kinds.insert(step.kind);
        EXPECT_EQ(kinds.count(StepKind::wait_dependency) == 1, role.name == "activations") << role.name;
    }
}

TEST(GemmTrace, NarrowWeightsCostVectorWork) {
    const auto ops = [](trace::Dtype weights) {
        trace::Trace t;
        const GemmShape shape{256, 512, 512, 1, trace::Dtype::bf16, weights, trace::Dtype::bf16};
        append_gemm(t, shape, add_gemm_tensors(t, shape, "g"),
                    choose_gemm(shape, wish_of({128, 128, 64}, 1, 1), h100()), "g", h100());
        double sum = 0;
        test::walk(t.kernels[0],
                   [&](const trace::Role&, const trace::Step& s, const test::Vars&) { sum += s.vec.fp32_ops; });
        return sum;
    };
    // Each of the two m tiles widens all 512 x 512 weights.
    EXPECT_EQ(ops(trace::Dtype::int4) - ops(trace::Dtype::bf16), 2.0 * 512 * 512);
}

}  // namespace
}  // namespace memwall::workload
