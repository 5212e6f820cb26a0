// Every operation makes a trace that passes the check, and touches what it says.
#include <gtest/gtest.h>

#include "base/error.h"
#include "device/floorplan.h"
#include "device/reader.h"
#include "trace/check.h"
#include "unit/workload/walk.h"
#include "workload/workload.h"

namespace memwall::workload {
namespace {

using trace::StepKind;

const device::Device& h100() {
    static const device::Device d = device::load_device("h100-sxm5", {MEMWALL_SOURCE_DIR "/configs/devices"}, {});
    return d;
}

trace::Trace build(const std::string& op) {
    return build_trace(parse_op(op), {}, h100(), {});
}

std::string refusal(const std::string& op) {
    try {
        (void)build(op);
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}

void expect_once(const trace::Trace& t, const trace::Kernel& k, StepKind kind, const std::string& tensor,
                 int times = 1) {
    EXPECT_TRUE(test::all_are(test::touched(t, k, kind, test::tensor_named(t, tensor)), times)) << tensor;
}

/// The tensor of a kernel's first step of `kind` that moves more than a sector.
int mover(const trace::Trace& t, const trace::Kernel& k, StepKind kind) {
    for (const trace::Role& role : k.roles) {
        for (const trace::Step& step : role.steps) {
            if (step.kind == kind && t.tensors[static_cast<std::size_t>(step.tensor)].shape[1] > 32) return step.tensor;
        }
    }
    return -1;
}

TEST(Quantize, ReadsTheActivationsForTheirMaximumAndAgainToNarrowThem) {
    const trace::Trace t = build("gemm m=300 n=4096 k=4096 dtype=fp8 quantize=dynamic");
    ASSERT_EQ(t.kernels.size(), 5U);
    const char* names[] = {"gemm.quantize.clear", "gemm.quantize.amax", "gemm.quantize", "gemm.quantize.widen_scale",
                           "gemm"};
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(t.kernels[i].name, names[i]);
    const auto once = [&](const trace::Kernel& k, StepKind kind, std::size_t elements) {
        const auto counts = test::touched(t, k, kind, mover(t, k, kind));
        EXPECT_EQ(counts.size(), elements) << k.name;
        EXPECT_TRUE(test::all_are(counts, 1)) << k.name;
    };
    once(t.kernels[1], StepKind::load, 300 * 4096);
    once(t.kernels[2], StepKind::load, 300 * 4096);
    once(t.kernels[2], StepKind::store, 300 * 4096);
    EXPECT_EQ(t.kernels[1].compulsory_read_bytes, 2U * 300 * 4096);
    EXPECT_EQ(t.kernels[2].compulsory_write_bytes, 1U * 300 * 4096);
    EXPECT_EQ(t.kernels[1].ctas, 1024);  // as TensorRT-LLM launches it, however few the elements
}

TEST(Quantize, AKnownScaleIsOneKernel) {
    const trace::Trace t = build("gemm m=16 n=8192 k=4096 dtype=fp8 quantize=static");
    ASSERT_EQ(t.kernels.size(), 2U);
    EXPECT_EQ(t.kernels[0].name, "gemm.quantize");
}

TEST(Quantize, IsForEightBits) {
    EXPECT_NE(refusal("gemm m=16 n=4096 k=4096 dtype=bf16 quantize=dynamic").find("8-bit"), std::string::npos);
    EXPECT_NE(refusal("gemm m=16 n=4096 k=4096 dtype=fp8 quantize=rows").find("static, dynamic"), std::string::npos);
}

TEST(Stream, CopyTouchesEveryByteOnce) {
    for (const char* op : {"copy bytes=2097152", "copy bytes=2097152 threads_per_cta=256"}) {
        const trace::Trace t = build(op);
        expect_once(t, t.kernels[0], StepKind::load, "in0");
        expect_once(t, t.kernels[0], StepKind::store, "out0");
        EXPECT_EQ(t.kernels[0].compulsory_read_bytes, 1U << 20);
        EXPECT_EQ(t.kernels[0].compulsory_write_bytes, 1U << 20);
    }
}

TEST(Stream, OneElementPerThreadMakesACtaPerBlock) {
    const trace::Trace t = build("read bytes=1048576 threads_per_cta=128 ctas_per_sm=2");
    EXPECT_EQ(t.kernels[0].ctas, 1048576 / (128 * 8));
    EXPECT_FALSE(t.kernels[0].work.persistent);
    EXPECT_EQ(t.kernels[0].ctas_per_sm_limit, 2);
    EXPECT_EQ(t.kernels[0].threads(), 128);
}

TEST(Stream, PassesAreCountedAfterAWarmUp) {
    const trace::Trace t = build("read bytes=2097152 passes=3 threads_per_cta=1024");
    ASSERT_EQ(t.kernels.size(), 2U);
    EXPECT_EQ(t.warmup_kernels, 1U);
    expect_once(t, t.kernels[0], StepKind::load, "in0");
    expect_once(t, t.kernels[1], StepKind::load, "in0", 3);
}

TEST(Stream, WindowsAreReadAsOftenAsThereArePasses) {
    const auto of = [](const std::string& passes) {
        return build("stream bytes=2097152 reads=1 writes=0 threads_per_cta=1024 passes=" + passes);
    };
    const trace::Trace few = of("5");  // 20 windows of 512 KiB for 264 slots
    EXPECT_EQ(few.warmup_kernels, 1U);
    expect_once(few, few.kernels[0], StepKind::load, "in0");
    expect_once(few, few.kernels[1], StepKind::load, "in0", 5);
    // Several waves: the first CTA of each slot has less than a window, all together what was asked for.
    const trace::Trace many = of("300");
    expect_once(many, many.kernels[0], StepKind::load, "in0");
    std::int64_t blocks = 0;
    std::set<std::int64_t> of_a_cta;
    std::map<std::int64_t, std::int64_t> loads;
    test::walk(many.kernels[1], [&](const trace::Role&, const trace::Step& step, const test::Vars& vars) {
        if (step.kind == StepKind::load) ++loads[vars[trace::kVarCta]];
    });
    for (const auto& [cta, n] : loads) {
        blocks += n;
        of_a_cta.insert(n);
    }
    const auto all = static_cast<double>(300 * 2097152 / (16 << 10));
    EXPECT_NEAR(static_cast<double>(blocks), all, 0.01 * all);
    EXPECT_EQ(of_a_cta.size(), 32U);  // from one piece of 16 KiB to a whole window
    // More CTAs than an SM holds do not make more slots.
    const trace::Trace crowded =
        build("stream bytes=2097152 reads=1 writes=0 threads_per_cta=1024 ctas_per_sm=32 passes=300");
    EXPECT_EQ(crowded.kernels[1].ctas, many.kernels[1].ctas);
}

TEST(Stream, SharedMeansThatEveryCtaReadsAll) {
    const trace::Trace t = build("read bytes=262144 shared=1 ctas_per_sm=1 sms=4");
    expect_once(t, t.kernels[0], StepKind::load, "in0", 4);
    EXPECT_EQ(t.kernels[0].sms, (std::vector<int>{0, 1, 2, 3}));
}

TEST(Stream, PlacementFollowsTheFloorplan) {
    const device::Floorplan plan(h100());
    const auto pair = build("read bytes=262144 sms=2 within=gpc").kernels[0].sms;
    EXPECT_EQ(plan.tpc_of_sm(pair.at(0)), plan.tpc_of_sm(pair.at(1)));
    const auto six = build("read bytes=262144 sms=6 within=gpc").kernels[0].sms;
    for (const int sm : six) EXPECT_EQ(plan.cpc_of_sm(sm), plan.cpc_of_sm(six[0]));
    const auto nine = build("write bytes=262144 sms=9 within=gpc_tpcs").kernels[0].sms;
    std::set<int> tpcs;
    for (const int sm : nine) {
        tpcs.insert(plan.tpc_of_sm(sm));
        EXPECT_EQ(plan.gpc_of_sm(sm), plan.gpc_of_sm(nine[0]));
    }
    EXPECT_EQ(tpcs.size(), 9U);
    EXPECT_NE(refusal("read bytes=262144 sms=19 within=gpc").find("18"), std::string::npos);
}

TEST(Stream, Refusals) {
    EXPECT_NE(refusal("stream bytes=1024 reads=0 writes=0").find("1 to 8 arrays"), std::string::npos);
    EXPECT_NE(refusal("read bytes=1048576 threads_per_cta=4096").find("threads_per_cta"), std::string::npos);
}

TEST(TmaRead, EveryBoxIsReadOnceWhateverItsRank) {
    for (const char* op : {"tma_read bytes=1572864 box_bytes=1536 ctas=24 in_flight=2",
                           "tma_read bytes=1048576 box_bytes=8192 ctas=16 in_flight=4 rank=2",
                           "tma_read bytes=1048576 box_bytes=4096 ctas=8 in_flight=1 rank=3"}) {
        const trace::Trace t = build(op);
        const int tensor = static_cast<int>(t.tensors.size()) - 1;  // the view that is read
        EXPECT_TRUE(test::all_are(test::touched(t, t.kernels[0], StepKind::load, tensor), 1)) << op;
    }
    // What the loads ask L2 to do stands in the tensor that they read.
    for (const auto& [word, policy] : {std::pair{"normal", trace::CachePolicy::normal},
                                       {"evict_first", trace::CachePolicy::evict_first},
                                       {"evict_last", trace::CachePolicy::evict_last}}) {
        for (const char* rank : {"1", "2"}) {
            const trace::Trace t =
                build(std::string("tma_read bytes=1048576 box_bytes=8192 ctas=16 in_flight=4 rank=") + rank +
                      " policy=" + word);
            for (const trace::Step& step : t.kernels[0].roles[0].steps) {
                if (step.kind != StepKind::load) continue;
                EXPECT_EQ(t.tensors[static_cast<std::size_t>(step.tensor)].policy, policy);
            }
        }
    }
    EXPECT_NE(refusal("tma_read bytes=1048576 box_bytes=65536 ctas=8 in_flight=8").find("8 stages"), std::string::npos);
    EXPECT_NE(refusal("tma_read bytes=1048576 box_bytes=100 ctas=8 in_flight=1").find("multiple of 16"),
              std::string::npos);
}

TEST(Rows, EveryRowOnceAndLongOnesInAClusterOfCtas) {
    for (const char* op : {"rmsnorm rows=1000 cols=300 dtype=bf16", "softmax rows=64 cols=4096 dtype=bf16",
                           "softmax rows=16 cols=65536 dtype=fp32"}) {
        const trace::Trace t = build(op);
        expect_once(t, t.kernels[0], StepKind::load, "in");
        expect_once(t, t.kernels[0], StepKind::store, "out");
    }
    EXPECT_EQ(build("rmsnorm rows=64 cols=16384 dtype=bf16").kernels[0].work.cluster, 1);
    EXPECT_EQ(build("rmsnorm rows=64 cols=65536 dtype=bf16").kernels[0].work.cluster, 4);
}

TEST(Elementwise, ReadsAndWritesEveryElement) {
    const trace::Trace t = build("elementwise elements=100000 reads=2 writes=1 dtype=fp16");
    std::int64_t loaded = 0, stored = 0;
    test::walk(t.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars& vars) {
        if (s.kind != StepKind::load && s.kind != StepKind::store) return;
        const auto& shape = t.tensors[static_cast<std::size_t>(s.tensor)].shape;
        const std::int64_t n = std::clamp<std::int64_t>(shape[0] - s.origin[0].at(vars), 0, s.box[0]);
        (s.kind == StepKind::load ? loaded : stored) += n;
    });
    EXPECT_EQ(loaded, 200000);
    EXPECT_EQ(stored, 100000);
    EXPECT_EQ(t.kernels[0].compulsory_read_bytes, 400000U);
}

TEST(Wgmma, CountsItsFlops) {
    const trace::Trace t = build("wgmma shape=m64n128k16 dtype=bf16 operand_a=register");
    double flops = 0;
    test::walk(t.kernels[0], [&](const trace::Role&, const trace::Step& s, const test::Vars&) {
        if (s.kind == StepKind::mma) flops += 2.0 * s.mma.m * s.mma.n * s.mma.k;
    });
    EXPECT_EQ(flops, t.kernels[0].flops);
    EXPECT_NE(refusal("wgmma shape=m32n8k16 dtype=bf16 operand_a=shared").find("m32n8k16"), std::string::npos);
}

TEST(Micro, EachMakesAGoodTrace) {
    for (const char* op : {"launch runtime=pdl", "pointer_chase bytes=65536",
                           "pointer_chase bytes=65536 access=tma sm=5", "dsmem_chase cluster_size=4"}) {
        EXPECT_NO_THROW(trace::check(build(op))) << op;
    }
    EXPECT_NE(refusal("pointer_chase bytes=65536 sm=132").find("0 to 131"), std::string::npos);
}

}  // namespace
}  // namespace memwall::workload
