#include "workload/gemm.h"

#include <fmt/core.h>

#include <algorithm>

#include "device/occupancy.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

constexpr int kBatch = 0, kM = 1, kN = 2, kSplit = 3;  // the work item's dimensions
constexpr int kStep = kSplit;                          // under Stream-K: the first step of k

/// Of the last FMAs of a step, until its stage may be given back: a load from shared memory and an FMA (29 and 4
/// cycles).
constexpr double kFmaLatency = 33;
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
    if (g.stream_k) {
        k.work.stream_steps = ceil_div(s.k, g.tile[2]);
        k.ctas = stream_k_units(s, g, device) * g.cluster;
    }
    k.smem_bytes = g.smem_bytes();
    k.flops = 2.0 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k * s.batch);
    k.math_dtype = s.dtype;
    k.tensor_cores = !g.fma;
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

/// Steps of k of one work item: a split's, which the last one may have fewer of, or a piece's under Stream-K.
struct Span {
    std::int64_t steps;  // of k in all
    std::int64_t share;  // of one split
    bool streamed;

    Span(const GemmShape& s, const GemmSchedule& g)
        : steps(ceil_div(s.k, g.tile[2])), share(ceil_div(steps, g.split)), streamed(g.stream_k) {}
    /// Turns of a loop over the item's steps, `less` fewer than all.
    [[nodiscard]] Step loop_over(std::int64_t less = 0) const {
        if (streamed) return loop(Affine::var(trace::kVarSteps) + -less);
        return loop(share - less, Affine(steps - less) + item(kSplit, -share));
    }
    /// First k element of turn `depth` of an item.
    [[nodiscard]] Affine origin(int depth, int tile_k) const {
        return turn(depth, tile_k) + (streamed ? item(kStep, tile_k) : item(kSplit, share * tile_k));
    }
};

/// A part of C.
struct Region {
    Affine row, col;
    std::int64_t rows, cols;
};

/// What is multiplied, where it lies, and how.
struct GemmProblem {
    const GemmShape& s;
    const GemmTensors& t;
    const GemmSchedule& g;
};

/// Where results go: C, or under split-K the split's partial sums.
Step put(const GemmProblem& p, const Region& to, LoadPath path) {
    const auto& [s, t, g] = p;
    if (g.split == 1) {
        Step store = move(StepKind::store, -1, t.c, at(s, to.row, to.col), box(s, to.rows, to.cols), path);
        if (g.store != StoreBy::tma) {
            // An instruction of a warp reaches eight rows, of each the neighbours that four threads have.
            store.path = LoadPath::plain;
            store.piece_bytes = 4 * (g.store == StoreBy::vector ? 2 : 1) * trace::bits_of(s.out_dtype) / 8;
        }
        return store;
    }
    const Affine slab = item(kSplit, s.batch) + item(kBatch);
    return move(StepKind::store, -1, t.partials, {slab, to.row, to.col}, {1, to.rows, to.cols}, path);
}

/// The end of an item: `epilogue`, and the results leave their consumer. Threads go on when their registers have been
/// read. The TMA reads from a staging buffer, which must have been read before it is filled again and before its CTA
/// leaves; a persistent CTA begins the next tile when all that the buffer does not hold has left. Which part is the
/// last does not matter: of rows, lines stay whole.
void append_put(std::vector<Step>& steps, const GemmProblem& p, const Region& to, const Step& epilogue, LoadPath path) {
    const Step read = simple(StepKind::wait_reads);
    const Step whole = put(p, to, path);
    if (whole.path != LoadPath::tma || !p.g.persistent) {
        append(steps, {epilogue, whole, read});
        return;
    }
    append(steps, {read, epilogue});
    const std::int64_t row_bytes = to.cols * trace::bits_of(p.g.split == 1 ? p.s.out_dtype : trace::Dtype::fp32) / 8;
    const std::int64_t staged_rows = std::max<std::int64_t>(1, p.g.epilogue_bytes / p.g.groups() / row_bytes);
    if (staged_rows >= to.rows) {
        steps.push_back(whole);
        return;
    }
    Region first = to, last = to;
    first.rows = to.rows - staged_rows;
    last.rows = staged_rows;
    last.row = to.row + first.rows;
    append(steps, {put(p, first, path), read, put(p, last, path)});
}

/// What one consumer warpgroup of a tile makes.
Region share_of_group(const GemmSchedule& g) {
    const Affine row = item(kM, g.tile[0]), col = item(kN, g.tile[1]);
    if (g.swapped) return {row, col + instance(g.group_rows()), g.tile[0], g.group_rows()};
    return {row + instance(g.group_rows()), col, g.group_rows(), g.tile[1]};
}

/// What a consumer does when its sums of the item are complete: its results go where they belong after `epilogue`.
///
/// Under Stream-K the CTA that began a tile, at step 0, finishes it: it adds the partial sums of the CTAs that have
/// done the rest, which these left in a workspace, a tile for each CTA, and said so by a flag. As a CTA's first piece
/// is the rest of a tile that another began with its last, the flag is usually set when it is looked at.
void append_finish(std::vector<Step>& steps, const GemmProblem& p, const Region& to, const Step& epilogue,
                   LoadPath path, int ring) {
    if (!p.g.stream_k) {
        append_put(steps, p, to, epilogue, path);
        return;
    }
    const GemmSchedule& g = p.g;
    // Of the workspace's tile, what this consumer has.
    const Affine row = g.swapped || g.skinny ? 0 : instance(g.group_rows());
    const Affine col = g.swapped ? instance(g.group_rows()) : 0;
    const auto partial = [&](StepKind kind, int into, const Affine& owner) {
        return move(kind, into, p.t.partials, {owner, row, col}, {1, to.rows, to.cols}, LoadPath::plain);
    };
    const int groups = g.skinny ? 1 : g.groups();
    const auto flag_of = [&](const Affine& owner) { return owner * groups + instance(); };
    const Affine peer = cta() + turn(1, g.cluster) + g.cluster;
    const double outputs = static_cast<double>(to.rows * to.cols);
    append(steps, {loop(1, item(kStep)), partial(StepKind::store, -1, cta()), simple(StepKind::wait_stores),
                   flag(StepKind::signal, flag_of(cta())), end_loop()});
    append(steps, {loop(1, item(kStep, -1) + 1), loop(Affine::var(trace::kVarPeers)),
                   flag(StepKind::wait_signal, flag_of(peer)), acquire(ring), partial(StepKind::load, ring, peer),
                   commit(ring), wait_full(ring), vector({outputs, 0, 0, 0}), release(ring), end_loop()});
    append_put(steps, p, to, epilogue, path);
    steps.push_back(end_loop());
}

/// Registers through which a consumer takes another CTA's partial sums.
trace::Ring sums_ring(const std::string& name, std::int64_t outputs) {
    return {name, 1, outputs * 4, 1, true};
}

/// CUTLASS's warp-specialised cooperative kernel: one producer warp, consumer warpgroups that share the tile's rows
/// (or, swapped, its columns) and keep one step's wgmma in flight while they release the stage of the step before.
void append_large(trace::Trace& trace, const GemmShape& s, const GemmTensors& t, const GemmSchedule& g,
                  const device::Device& device, trace::Kernel k) {
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
    const double outputs = static_cast<double>(rows) * g.mma_columns(), depth = g.tile[2];
    work.push_back(g.fma ? vector({outputs * depth * fma_slots(g.accumulators()), 0,
                                   fma_operand_bytes(rows, g.mma_columns()) * depth, kFmaLatency})
                         : mma({rows, g.mma_columns(), g.tile[2], s.dtype, false}));
    std::vector<Step> steps;
    if (g.fma || g.stages == 1) {
        // FMAs are done when their step is, and with a single stage there is none to work on while another is released.
        if (!g.fma) work.push_back(wait_mma(0));
        steps.push_back(span.loop_over());
        steps.insert(steps.end(), work.begin(), work.end());
        append(steps, {release(0), end_loop()});
    } else {
        // The first step has nothing before it to release; then each releases the stage before its own, while its own
        // runs.
        steps = work;
        steps.push_back(span.loop_over(1));
        steps.insert(steps.end(), work.begin(), work.end());
        append(steps, {wait_mma(1), release(0), end_loop(), wait_mma(0), release(0)});
    }
    const double staged = g.store == StoreBy::tma ? outputs * trace::bits_of(s.out_dtype) / 8 : 0;
    const Step epilogue = vector({outputs, 0, staged, 64});
    k.roles = {producer};
    // Under Stream-K each consumer has a ring of its own, for the sums of others.
    const int alike = g.stream_k ? 1 : g.groups();
    for (int first = 0; first < g.groups(); first += alike) {
        std::vector<Step> whole = steps;
        append_finish(whole, {s, t, g}, share_of_group(g), epilogue, g.path, static_cast<int>(k.rings.size()));
        if (g.stream_k) k.rings.push_back(sums_ring(fmt::format("sums {}", first), rows * g.mma_columns()));
        k.roles.push_back({"consumer", alike, 4, std::move(whole), first});
    }
    if (g.persistent && !g.stream_k) {
        // As many as are resident: small tiles and shallow rings leave room for several on an SM.
        const auto cta = device::allocated(device.sm, k.threads() / 32, k.registers_per_thread, k.smem_bytes);
        const std::int64_t resident = resident_ctas(device, g.cluster) * device::occupancy(device.sm, cta);
        k.ctas = std::min(k.work.cluster_items() * g.cluster, std::max<std::int64_t>(k.ctas, resident));
    }
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
    append_finish(steps, {s, t, g}, {0, item(kN, g.tile[1]), s.m, g.tile[1]},
                  vector({outputs * 5, 0, outputs * 4, 150}), LoadPath::plain, static_cast<int>(k.rings.size()));
    if (g.stream_k) k.rings.push_back(sums_ring("sums", s.m * g.tile[1]));
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

/// Where partial sums are left: a matrix of C's shape for each split, or a tile for each CTA of Stream-K.
struct Slabs {
    std::int64_t count = 0, rows = 0, cols = 0;
    [[nodiscard]] std::int64_t elements() const { return count * rows * cols; }
};

Slabs slabs_of(const GemmShape& s, const GemmSchedule& g, const device::Device& device) {
    if (g.stream_k) return {stream_k_units(s, g, device) * g.cluster, g.tile[0], g.tile[1]};
    if (g.split > 1) return {g.split * s.batch, s.m, s.n};
    return {};
}

}  // namespace

std::int64_t gemm_workspace(const GemmShape& shape, const GemmSchedule& schedule, const device::Device& device) {
    return slabs_of(shape, schedule, device).elements();
}

GemmTensors add_gemm_tensors(trace::Trace& trace, const GemmShape& s, const std::string& name) {
    return {trace.add_tensor(name + ".a", s.dtype, matrix(s, s.m, s.k)),
            trace.add_tensor(name + ".b", s.weights_dtype, matrix(s, s.n, s.k)),
            trace.add_tensor(name + ".c", s.out_dtype, matrix(s, s.m, s.n))};
}

void append_gemm(trace::Trace& trace, const GemmShape& shape, const GemmTensors& tensors, const GemmSchedule& schedule,
                 const std::string& name, const device::Device& device) {
    GemmTensors used = tensors;
    if (const Slabs slabs = slabs_of(shape, schedule, device); slabs.count > 0) {
        if (used.partials < 0) {
            used.partials = trace.add_tensor(name + ".partials", trace::Dtype::fp32, {slabs.elements()});
        }
        trace::Tensor view = trace.tensors[static_cast<std::size_t>(used.partials)];
        view.rank = 3;
        view.shape = {slabs.count, slabs.rows, slabs.cols};
        view.stride_bytes = {4 * slabs.rows * slabs.cols, 4 * slabs.cols, 4};
        used.partials = trace.add_view(view);
    }
    trace::Kernel kernel = describe(shape, schedule, name, device);
    if (schedule.skinny) {
        append_skinny(trace, shape, used, schedule, std::move(kernel));
    } else {
        append_large(trace, shape, used, schedule, device, std::move(kernel));
    }
    if (schedule.split > 1) {
        const std::int64_t outputs = shape.batch * shape.m * shape.n;
        append_fold(trace, shape, as_matrix(trace, used.partials, schedule.split, outputs), used.c, schedule.split,
                    name);
    }
}

}  // namespace memwall::workload
