#include "workload/gemm.h"

#include <algorithm>

#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = 0, kM = 1, kN = 2, kSplit = 3;  // the work item's dimensions

/// Origin of a tile in a tensor that has a batch dimension in front when the product is batched.
Origin at(const GemmShape& s, Affine row, Affine col) {
    if (s.batch == 1) return {std::move(row), std::move(col)};
    return {item(kBatch), std::move(row), std::move(col)};
}
trace::Extents box(const GemmShape& s, std::int64_t rows, std::int64_t cols) {
    if (s.batch == 1) return {rows, cols};
    return {1, rows, cols};
}

trace::Kernel describe(const GemmShape& s, const GemmSchedule& g, const std::string& name, const device::Device& device) {
    trace::Kernel k;
    k.name = name;
    k.op = "gemm";
    k.work.names = {"batch", "m", "n", "split"};
    k.work.extent = {s.batch, ceil_div(s.m, g.tile[0]), ceil_div(s.n, g.tile[1]), g.split};
    k.work.panel = g.panel;
    k.work.persistent = g.persistent;
    k.work.cluster = g.cluster;
    k.work.cluster_dim = kM;
    const std::int64_t clusters = k.work.cluster_items();
    k.ctas = (g.persistent ? std::min<std::int64_t>(clusters, device.sms() / g.cluster) : clusters) * g.cluster;
    k.smem_bytes = g.smem_bytes();
    k.flops = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k) * static_cast<double>(s.batch);
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    const auto bytes = [&](std::int64_t elements, trace::Dtype dtype) { return static_cast<std::uint64_t>(elements * s.batch) * static_cast<std::uint64_t>(trace::bits_of(dtype)) / 8; };
    k.compulsory_read_bytes = bytes(s.m * s.k, s.dtype) + bytes(s.n * s.k, s.weights_dtype);
    k.compulsory_write_bytes = bytes(s.m * s.n, s.out_dtype);
    k.tile = g.tile;
    k.stages = g.stages;
    k.split = g.split;
    return k;
}

/// Steps of k of one split, and the bound that the last one meets.
struct Span {
    std::int64_t steps;   // of k in all
    std::int64_t share;   // of one split
    [[nodiscard]] Affine limit(std::int64_t less = 0) const { return Affine(steps - less) + item(kSplit, -share); }
    /// First k element of turn `depth` of a split.
    [[nodiscard]] Affine origin(int depth, int tile_k) const { return turn(depth, tile_k) + item(kSplit, share * tile_k); }
};

void append_large(trace::Trace& trace, const GemmShape& s, const GemmTensors& t, const GemmSchedule& g, trace::Kernel k) {
    const Span span{ceil_div(s.k, g.tile[2]), ceil_div(ceil_div(s.k, g.tile[2]), g.split)};
    const int groups = g.tile[0] >= 128 ? 2 : 1;
    const int rows = g.tile[0] / groups;
    k.registers_per_thread = 168;  // 64x256 fp32 accumulators are 128 registers of a warpgroup's thread
    k.rings = {{"tiles", g.stages, g.stage_bytes, groups * g.cluster, false}};

    Step a = move(StepKind::load, 0, t.a, at(s, item(kM, g.tile[0]), span.origin(0, g.tile[2])), box(s, g.tile[0], g.tile[2]), LoadPath::tma);
    Step b = move(StepKind::load, 0, t.b, at(s, item(kN, g.tile[1]), span.origin(0, g.tile[2])), box(s, g.tile[1], g.tile[2]), LoadPath::tma);
    b.multicast_ctas = g.cluster;  // the CTAs of a cluster have different m and the same n
    const trace::Role producer{"producer", 1, 1,
                               {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), loop(span.share, span.limit()), acquire(0), a, b, commit(0), end_loop()}};

    const Step work = mma({rows, g.tile[1], g.tile[2], s.dtype, false});
    // The first step has nothing before it to release; then each releases the stage before its own, while its own runs.
    std::vector<Step> steps = {wait_full(0), work, loop(Affine(span.share - 1), span.limit(1)), wait_full(0), work, wait_mma(1), release(0), end_loop(), wait_mma(0), release(0)};
    const double out_bytes = static_cast<double>(rows) * g.tile[1] * trace::bits_of(s.out_dtype) / 8;
    steps.push_back(vector({static_cast<double>(rows) * g.tile[1], 0, out_bytes, 64}));
    const StepKind out = g.split > 1 ? StepKind::reduce : StepKind::store;
    steps.push_back(move(out, -1, t.c, at(s, item(kM, g.tile[0]) + instance(rows), item(kN, g.tile[1])), box(s, rows, g.tile[1]), LoadPath::tma));
    k.roles = {producer, {"consumer", groups, 4, steps}};
    trace.kernels.push_back(std::move(k));
}

/// Decode: the weights stream through a ring of their own, and do not wait for the kernel before; the few activations come
/// through a second one.
void append_skinny(trace::Trace& trace, const GemmShape& s, const GemmTensors& t, const GemmSchedule& g, trace::Kernel k) {
    const Span span{ceil_div(s.k, g.tile[2]), ceil_div(ceil_div(s.k, g.tile[2]), g.split)};
    k.registers_per_thread = 128;
    const auto weight_bytes = static_cast<std::int64_t>(g.tile[1]) * g.tile[2] * trace::bits_of(s.weights_dtype) / 8;
    k.rings = {{"weights", g.stages, weight_bytes, 1, false}, {"activations", g.stages, g.stage_bytes - weight_bytes, 1, false}};
    const Step w = move(StepKind::load, 0, t.b, at(s, item(kN, g.tile[1]), span.origin(0, g.tile[2])), box(s, g.tile[1], g.tile[2]), LoadPath::tma);
    const Step x = move(StepKind::load, 1, t.a, at(s, 0, span.origin(0, g.tile[2])), box(s, s.m, g.tile[2]), LoadPath::tma);
    const auto k_loop = [&] { return loop(span.share, span.limit()); };
    const trace::Role weights{"weights", 1, 1, {simple(StepKind::trigger_dependents), k_loop(), acquire(0), w, commit(0), end_loop()}};
    const trace::Role activations{"activations", 1, 1, {simple(StepKind::wait_dependency), k_loop(), acquire(1), x, commit(1), end_loop()}};

    const double elements = static_cast<double>(g.tile[1]) * g.tile[2];
    // Weights narrower than the arithmetic are widened first, one operation for each.
    const double widen = trace::bits_of(s.weights_dtype) < trace::bits_of(s.dtype) ? elements : 0;
    std::vector<Step> steps = {k_loop(), wait_full(0), wait_full(1)};
    if (s.m <= 8) {
        steps.push_back(vector({elements * static_cast<double>(s.m) + widen, 0, static_cast<double>(g.stage_bytes), 30}));
    } else {
        if (widen > 0) steps.push_back(vector({widen, 0, static_cast<double>(weight_bytes), 30}));
        steps.push_back(mma({g.tile[1], g.tile[0], g.tile[2], s.dtype, false}));
        steps.push_back(wait_mma(0));
    }
    for (Step step : {release(0), release(1), end_loop()}) steps.push_back(step);
    // Partial sums of the lanes are folded by shuffles, then written.
    const double outputs = static_cast<double>(s.m) * g.tile[1];
    steps.push_back(vector({outputs * 5, 0, outputs * 4, 150}));
    steps.push_back(move(g.split > 1 ? StepKind::reduce : StepKind::store, -1, t.c, at(s, 0, item(kN, g.tile[1])), box(s, s.m, g.tile[1]), LoadPath::plain));
    k.roles = {weights, activations, {"consumer", 1, 8, steps}};
    trace.kernels.push_back(std::move(k));
}

}  // namespace

GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& s, const std::string& name) {
    const auto shape = [&](std::int64_t rows, std::int64_t cols) { return s.batch == 1 ? std::vector<std::int64_t>{rows, cols} : std::vector<std::int64_t>{s.batch, rows, cols}; };
    return {trace.add_tensor(name + ".a", s.dtype, shape(s.m, s.k)), trace.add_tensor(name + ".b", s.weights_dtype, shape(s.n, s.k)),
            trace.add_tensor(name + ".c", s.out_dtype, shape(s.m, s.n))};
}

void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule, const std::string& name,
                 const device::Device& device) {
    trace::Kernel kernel = describe(shape, schedule, name, device);
    if (schedule.skinny) {
        append_skinny(trace, shape, tensors, schedule, std::move(kernel));
    } else {
        append_large(trace, shape, tensors, schedule, std::move(kernel));
    }
}

}  // namespace memwall::workload
