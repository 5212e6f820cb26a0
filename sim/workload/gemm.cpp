#include "workload/gemm.h"

#include <algorithm>

#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = 0, kM = 1, kN = 2, kSplit = 3;  // the work item's dimensions

/// Registers of a consumer thread beside its accumulators: addresses, descriptors, the epilogue.
constexpr int kOtherRegisters = 24;

/// Origin of a tile in a tensor that has a batch dimension in front when the product is batched.
Origin at(const GemmShape& s, Affine row, Affine col) {
    if (s.batch == 1) return {row, col};
    return {item(kBatch), row, col};
}
trace::Extents box(const GemmShape& s, std::int64_t rows, std::int64_t cols) {
    if (s.batch == 1) return {rows, cols};
    return {1, rows, cols};
}
std::vector<std::int64_t> matrix(const GemmShape& s, std::int64_t rows, std::int64_t cols) {
    if (s.batch == 1) return {rows, cols};
    return {s.batch, rows, cols};
}

/// Weights narrower than the arithmetic are widened by the vector units: one operation for each.
double widening(const GemmShape& s, const GemmSchedule& g) {
    const bool narrow = trace::bits_of(s.weights_dtype) < trace::bits_of(s.dtype);
    return narrow ? static_cast<double>(g.tile[1]) * g.tile[2] : 0;
}

trace::Kernel describe(const GemmShape& s, const GemmSchedule& g, const std::string& name,
                       const device::Device& device) {
    trace::Kernel k;
    k.name = name;
    k.op = "gemm";
    k.params = {{"m", std::to_string(s.m)},         {"n", std::to_string(s.n)},
                {"k", std::to_string(s.k)},         {"batch", std::to_string(s.batch)},
                {"dtype", trace::name_of(s.dtype)}, {"weights_dtype", trace::name_of(s.weights_dtype)}};
    k.work.names = {"batch", "m", "n", "split"};
    k.work.extent = {s.batch, ceil_div(s.m, g.tile[0]), ceil_div(s.n, g.tile[1]), g.split};
    k.work.panel = g.panel > 0 ? std::max(1, g.panel / g.cluster) : 0;  // counted in clusters
    k.work.persistent = g.persistent;
    k.work.cluster = g.cluster;
    k.work.cluster_dim = kM;
    const std::int64_t clusters = k.work.cluster_items();
    const std::int64_t resident = resident_ctas(device, g.cluster) / g.cluster;
    k.ctas = (g.persistent ? std::min(clusters, resident) : clusters) * g.cluster;
    k.smem_bytes = g.smem_bytes();
    k.flops = 2.0 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k * s.batch);
    k.math_dtype = s.dtype;
    k.tensor_cores = true;
    const auto bytes = [&](std::int64_t elements, trace::Dtype dtype) {
        return static_cast<std::uint64_t>(elements * s.batch * trace::bits_of(dtype) / 8);
    };
    k.compulsory_read_bytes = bytes(s.m * s.k, s.dtype) + bytes(s.n * s.k, s.weights_dtype);
    k.compulsory_write_bytes = bytes(s.m * s.n, s.out_dtype);
    k.tile = g.tile;
    k.stages = g.stages;
    k.split = g.split;
    return k;
}

/// Steps of k of one split, and the bound that the last one meets.
struct Span {
    std::int64_t steps;  // of k in all
    std::int64_t share;  // of one split

    Span(const GemmShape& s, const GemmSchedule& g)
        : steps(ceil_div(s.k, g.tile[2])), share(ceil_div(steps, g.split)) {}
    /// Turns of a loop over the split's steps, `less` fewer than all.
    [[nodiscard]] Step loop_over(std::int64_t less = 0) const {
        return loop(share - less, Affine(steps - less) + item(kSplit, -share));
    }
    /// First k element of turn `depth` of a split.
    [[nodiscard]] Affine origin(int depth, int tile_k) const {
        return turn(depth, tile_k) + item(kSplit, share * tile_k);
    }
};

/// A part of C.
struct Region {
    Affine row, col;
    std::int64_t rows, cols;
};

/// Where results go: C, or under split-K the split's partial sums.
Step put(const GemmShape& s, const GemmTensors& t, const GemmSchedule& g, const Region& to, LoadPath path) {
    if (g.split == 1) return move(StepKind::store, -1, t.c, at(s, to.row, to.col), box(s, to.rows, to.cols), path);
    const Affine slab = item(kSplit, s.batch) + item(kBatch);
    return move(StepKind::store, -1, t.partials, {slab, to.row, to.col}, {1, to.rows, to.cols}, path);
}

/// What one consumer warpgroup of a tile makes.
Region share_of_group(const GemmSchedule& g) {
    const Affine row = item(kM, g.tile[0]), col = item(kN, g.tile[1]);
    if (g.swapped) return {row, col + instance(g.group_rows()), g.tile[0], g.group_rows()};
    return {row + instance(g.group_rows()), col, g.group_rows(), g.tile[1]};
}

/// CUTLASS's warp-specialised cooperative kernel: one producer warp, consumer warpgroups that share the tile's rows
/// (or, swapped, its columns) and keep one step's wgmma in flight while they release the stage of the step before.
void append_large(trace::Trace& trace, const GemmShape& s, const GemmTensors& t, const GemmSchedule& g,
                  trace::Kernel k) {
    const Span span(s, g);
    const int rows = g.group_rows();
    k.registers_per_thread = g.accumulators() + kOtherRegisters;
    k.rings = {{"tiles", g.stages, g.stage_bytes, g.groups() * g.cluster, false}};

    const Affine k_at = span.origin(0, g.tile[2]);
    const Step a = move(StepKind::load, 0, t.a, at(s, item(kM, g.tile[0]), k_at), box(s, g.tile[0], g.tile[2]), g.path);
    Step b = move(StepKind::load, 0, t.b, at(s, item(kN, g.tile[1]), k_at), box(s, g.tile[1], g.tile[2]), g.path);
    b.multicast_ctas = g.cluster;  // the CTAs of a cluster have different m and the same n
    const trace::Role producer{"producer",
                               1,
                               1,
                               {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency),
                                span.loop_over(), acquire(0), a, b, commit(0), end_loop()}};

    std::vector<Step> work = {wait_full(0)};
    if (const double widen = widening(s, g); widen > 0) work.push_back(vector({widen / g.groups(), 0, 0, 0}));
    work.push_back(mma({rows, g.mma_columns(), g.tile[2], s.dtype, false}));
    std::vector<Step> steps;
    if (g.stages == 1) {
        // With a single stage there is none to work on while another is released.
        steps.push_back(span.loop_over());
        steps.insert(steps.end(), work.begin(), work.end());
        for (const Step& step : {wait_mma(0), release(0), end_loop()}) steps.push_back(step);
    } else {
        // The first step has nothing before it to release; then each releases the stage before its own, while its own
        // runs.
        steps = work;
        steps.push_back(span.loop_over(1));
        steps.insert(steps.end(), work.begin(), work.end());
        for (const Step& step : {wait_mma(1), release(0), end_loop(), wait_mma(0), release(0)}) steps.push_back(step);
    }
    const double outputs = static_cast<double>(rows) * g.mma_columns();
    steps.push_back(vector({outputs, 0, outputs * trace::bits_of(s.out_dtype) / 8, 64}));
    steps.push_back(put(s, t, g, share_of_group(g), g.path));
    k.roles = {producer, {"consumer", g.groups(), 4, steps}};
    trace.kernels.push_back(std::move(k));
}

/// One step of the skinny consumer: FMAs on the lanes, or a wgmma with the weights on its m side.
std::vector<Step> skinny_work(const GemmShape& s, const GemmSchedule& g) {
    const double elements = static_cast<double>(g.tile[1]) * g.tile[2];
    const double widen = widening(s, g);
    if (g.fma) {
        return {vector({elements * static_cast<double>(s.m) + widen, 0, static_cast<double>(g.stage_bytes), 30})};
    }
    std::vector<Step> steps;
    const double weights = elements * trace::bits_of(s.weights_dtype) / 8;
    if (widen > 0) steps.push_back(vector({widen, 0, weights, 30}));
    steps.push_back(mma({g.tile[1], g.tile[0], g.tile[2], s.dtype, false}));
    steps.push_back(wait_mma(0));
    return steps;
}

/// Decode: the weights stream through a ring of their own, and do not wait for the kernel before; the few activations
/// come through a second one.
void append_skinny(trace::Trace& trace, const GemmShape& s, const GemmTensors& t, const GemmSchedule& g,
                   trace::Kernel k) {
    const Span span(s, g);
    k.registers_per_thread = 128;
    const std::int64_t weight_bytes =
        static_cast<std::int64_t>(g.tile[1]) * g.tile[2] * trace::bits_of(s.weights_dtype) / 8;
    k.rings = {{"weights", g.stages, weight_bytes, 1, false},
               {"activations", g.stages, g.stage_bytes - weight_bytes, 1, false}};
    const Affine k_at = span.origin(0, g.tile[2]);
    const Step w = move(StepKind::load, 0, t.b, at(s, item(kN, g.tile[1]), k_at), box(s, g.tile[1], g.tile[2]), g.path);
    const Step x = move(StepKind::load, 1, t.a, at(s, 0, k_at), box(s, s.m, g.tile[2]), g.path);
    const trace::Role weights{
        "weights",
        1,
        1,
        {simple(StepKind::trigger_dependents), span.loop_over(), acquire(0), w, commit(0), end_loop()}};
    const trace::Role activations{
        "activations",
        1,
        1,
        {simple(StepKind::wait_dependency), span.loop_over(), acquire(1), x, commit(1), end_loop()}};

    std::vector<Step> steps = {span.loop_over(), wait_full(0), wait_full(1)};
    for (const Step& step : skinny_work(s, g)) steps.push_back(step);
    for (const Step& step : {release(0), release(1), end_loop()}) steps.push_back(step);
    // Partial sums of the lanes are folded by shuffles, then written.
    const double outputs = static_cast<double>(s.m) * g.tile[1];
    steps.push_back(vector({outputs * 5, 0, outputs * 4, 150}));
    steps.push_back(put(s, t, g, {0, item(kN, g.tile[1]), s.m, g.tile[1]}, LoadPath::plain));
    k.roles = {weights, activations, {"consumer", 1, 8, steps}};
    trace.kernels.push_back(std::move(k));
}

/// Adds the partial sums, four neighbours a thread, and narrows them to C's type.
void append_fold(trace::Trace& trace, const GemmShape& s, int partials, int c, int split, const std::string& name) {
    constexpr int kWarps = 8;
    constexpr std::int64_t kOutputs = kWarps * 32 * 4;  // of a CTA: 16 bytes of each slab for a thread
    const std::int64_t outputs = s.batch * s.m * s.n;
    trace::Kernel k;
    k.name = name + ".fold";
    k.op = "gemm";
    k.work.names = {"", "", "block", ""};
    k.work.extent = {1, 1, ceil_div(outputs, kOutputs), 1};
    k.ctas = k.work.items();
    k.registers_per_thread = 32;
    k.rings = {{"registers", 1, split * kOutputs * 4, 1, true}};
    const double adds = static_cast<double>(kOutputs) * split;
    const Affine first = item(kN, kOutputs);
    k.roles = {{"threads",
                1,
                kWarps,
                {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0),
                 move(StepKind::load, 0, partials, {0, first}, {split, kOutputs}, LoadPath::plain), commit(0),
                 wait_full(0), vector({adds, 0, 0, 30}),
                 move(StepKind::store, -1, as_matrix(trace, c, 1, outputs), {0, first}, {1, kOutputs}, LoadPath::plain),
                 release(0)}}};
    // Its additions are the schedule's and not the product's FLOPs; C is counted with the kernel that it completes.
    k.flops = 0;
    k.math_dtype = trace::Dtype::fp32;
    trace.kernels.push_back(std::move(k));
}

}  // namespace

GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& s, const std::string& name) {
    return {trace.add_tensor(name + ".a", s.dtype, matrix(s, s.m, s.k)),
            trace.add_tensor(name + ".b", s.weights_dtype, matrix(s, s.n, s.k)),
            trace.add_tensor(name + ".c", s.out_dtype, matrix(s, s.m, s.n))};
}

void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule,
                 const std::string& name, const device::Device& device) {
    GemmTensors used = tensors;
    const std::int64_t outputs = shape.batch * shape.m * shape.n;
    if (schedule.split > 1) {
        if (used.partials < 0) {
            used.partials = trace.add_tensor(name + ".partials", trace::Dtype::fp32, {schedule.split, outputs});
        }
        trace::Tensor slabs = trace.tensors[static_cast<std::size_t>(used.partials)];
        slabs.rank = 3;
        slabs.shape = {schedule.split * shape.batch, shape.m, shape.n};
        slabs.stride_bytes = {4 * shape.m * shape.n, 4 * shape.n, 4};
        used.partials = trace.add_view(slabs);
    }
    trace::Kernel kernel = describe(shape, schedule, name, device);
    if (schedule.skinny) {
        append_skinny(trace, shape, used, schedule, std::move(kernel));
    } else {
        append_large(trace, shape, used, schedule, std::move(kernel));
    }
    if (schedule.split > 1) {
        append_fold(trace, shape, as_matrix(trace, used.partials, schedule.split, outputs), used.c, schedule.split,
                    name);
    }
}

}  // namespace memwall::workload
