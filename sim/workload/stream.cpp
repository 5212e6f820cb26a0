// Streaming kernels: elementwise, and the bandwidth microbenchmarks in the two shapes in which they are measured.

#include <fmt/core.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "device/floorplan.h"
#include "workload/ops.h"
#include "workload/steps.h"

namespace memwall::workload {

namespace {

using trace::LoadPath;

/// Bytes of each array that one CTA of an ordinary elementwise kernel handles: 256 threads with two 16-byte loads each.
constexpr std::int64_t kBlockBytes = 256 * 2 * 16;

/// Loads one block of each input, works on it, stores one block of each output. Blocks lie in rows of `row_bytes`.
std::vector<Step> block_steps(const std::vector<int>& inputs, const std::vector<int>& outputs, const Affine& row,
                              std::int64_t rows, std::int64_t cols, trace::VectorShape work) {
    std::vector<Step> steps;
    if (!inputs.empty()) {
        steps.push_back(acquire(0));
        for (const int tensor : inputs)
            steps.push_back(move(StepKind::load, 0, tensor, {row, 0}, {rows, cols}, LoadPath::plain));
        steps.push_back(commit(0));
        steps.push_back(wait_full(0));
    }
    steps.push_back(vector(work));
    for (const int tensor : outputs)
        steps.push_back(move(StepKind::store, -1, tensor, {row, 0}, {rows, cols}, LoadPath::plain));
    if (!inputs.empty()) steps.push_back(release(0));
    return steps;
}

/// Bytes in blocks as a two-dimensional tensor of `cols` bytes.
int add_block_tensor(trace::Trace& trace, const std::string& name, std::int64_t blocks, std::int64_t block_bytes) {
    return trace.add_tensor(name, trace::Dtype::int8, {blocks, block_bytes});
}

struct StreamShape {
    std::int64_t array_bytes;
    int reads, writes;
    std::int64_t passes;
    std::int64_t threads;
    int ctas_per_sm;
    std::vector<int> sms;
    int device_sms;
    bool shared;
    bool one_element;  ///< a thread, after which its CTA makes room for the next
    std::int64_t pattern_bytes, pattern_stride;
};

/// The SMs that take part: the first `sms` of the chip, of its largest GPC with TPCs and CPCs whole, or of that GPC's
/// TPCs.
std::vector<int> choose_sms(const OpSpec& op, const device::Device& device) {
    const std::string within = op.word("within", "chip", {"chip", "gpc", "gpc_tpcs"});
    std::vector<int> ids;
    if (within == "chip") {
        for (int sm = 0; sm < device.sms(); ++sm) ids.push_back(sm);
    } else {
        const device::Floorplan plan(device);
        const auto& sizes = device.floorplan.sms_per_gpc;
        const auto largest = static_cast<int>(std::max_element(sizes.begin(), sizes.end()) - sizes.begin());
        for (int sm = 0; sm < device.sms(); ++sm) {
            if (plan.gpc_of_sm(sm) == largest) ids.push_back(sm);
        }
        std::sort(ids.begin(), ids.end(), [&](int a, int b) {
            return std::tuple(plan.cpc_of_sm(a), plan.tpc_of_sm(a), a) <
                   std::tuple(plan.cpc_of_sm(b), plan.tpc_of_sm(b), b);
        });
        const auto same = [&](int a, int b) { return plan.tpc_of_sm(a) == plan.tpc_of_sm(b); };
        if (within == "gpc_tpcs") ids.erase(std::unique(ids.begin(), ids.end(), same), ids.end());
    }
    const auto all = static_cast<std::int64_t>(ids.size());
    const std::int64_t wanted = op.number("sms", all);
    if (wanted > all)
        throw InputError("operation " + op.op() + ", sms", std::to_string(wanted), fmt::format("1 to {}", all));
    ids.resize(static_cast<std::size_t>(wanted));
    return ids;
}

StreamShape read_shape(const OpSpec& op, const device::Device& device) {
    StreamShape s{};
    s.reads = op.op() == "write" ? 0 : op.op() == "stream" ? static_cast<int>(op.number("reads")) : 1;
    s.writes = op.op() == "read" ? 0 : op.op() == "stream" ? static_cast<int>(op.number("writes")) : 1;
    if (s.reads + s.writes < 1 || s.reads + s.writes > 8) {
        throw InputError("operation " + op.op(), fmt::format("{} arrays read and {} written", s.reads, s.writes),
                         "1 to 8 arrays in all");
    }
    s.array_bytes = op.number("bytes") / (s.reads + s.writes);
    s.passes = op.number("passes", 1);
    s.one_element = op.has("threads_per_cta") && (s.passes == 1 || op.flag("cyclic", false));
    s.threads = op.number("threads_per_cta", 512);
    if (s.threads > device.sm.max_threads / 2) {
        throw InputError("operation " + op.op() + ", threads_per_cta", std::to_string(s.threads),
                         fmt::format("up to {}", device.sm.max_threads / 2));
    }
    s.ctas_per_sm = static_cast<int>(op.number("ctas_per_sm", device.sm.max_threads / s.threads));
    s.sms = choose_sms(op, device);
    s.device_sms = device.sms();
    s.shared = op.flag("shared", false);
    s.pattern_bytes = op.number("pattern_bytes", 0 + (op.has("pattern_stride") ? 32 : 0));
    s.pattern_stride = op.number("pattern_stride", s.pattern_bytes);
    return s;
}

void finish(trace::Kernel& k, const StreamShape& s) {
    k.compulsory_read_bytes = static_cast<std::uint64_t>(s.array_bytes * s.reads);
    k.compulsory_write_bytes = static_cast<std::uint64_t>(s.array_bytes * s.writes);
    if (s.sms.size() < static_cast<std::size_t>(s.device_sms)) k.sms = s.sms;
    k.ctas_per_sm_limit = s.ctas_per_sm;
    k.registers_per_thread = 32;
}

/// One element per thread and one CTA per block (RRZE gpu-stream): what it measures at low occupancy is the turnover of
/// CTA slots. With several passes the threads' indices wrap around the arrays (RRZE gpu-l2-stream), and a first kernel
/// of one pass is not counted.
void append_one_element(trace::Trace& trace, const StreamShape& s, const std::vector<int>& in,
                        const std::vector<int>& out, std::int64_t blocks, std::int64_t block_bytes,
                        const std::string& op) {
    trace::Kernel k;
    k.op = op;
    if (s.reads > 0) k.rings = {{"registers", 1, block_bytes * s.reads, 1, true}};
    k.roles = {{"threads", 1, static_cast<int>(ceil_div(s.threads, 32)),
                block_steps(in, out, item(2), 1, block_bytes, {static_cast<double>(s.threads), 0, 0, 20})}};
    finish(k, s);
    const auto add = [&](std::int64_t passes, const std::string& name) {
        k.name = name;
        k.work.extent = {1, passes, blocks, 1};
        k.ctas = passes * blocks;
        trace.kernels.push_back(k);
    };
    if (s.passes > 1) {
        add(1, op + ".warmup");
        trace.warmup_kernels = trace.kernels.size();
    }
    add(s.passes, op);
}

/// CTAs that each read or write one window of the arrays, dealt to SMs as they come free, the windows coming round
/// `passes` times (RRZE gpu-l2-cache). A first kernel of one pass is not counted.
///
/// The benchmark starts 200,000 of them. After a few waves they are not in step any more: of those at work each has
/// come a little further in its window than the one that was started after it. Two that share a window then lie as far
/// apart as all of them read meanwhile, and do not meet in L2. So where there are several waves, the first on each slot
/// begin with the share that is left, half of it in the mean, and more CTAs than `passes` make up for it.
void append_windows(trace::Trace& trace, const StreamShape& s, const std::vector<int>& in, const std::vector<int>& out,
                    std::int64_t blocks, std::int64_t block_bytes, const std::string& op,
                    const device::Device& device) {
    constexpr int kUnroll = 4;
    constexpr std::int64_t kWindowBytes = 512 << 10;
    trace::Kernel k;
    k.op = op;
    const std::int64_t share = std::clamp<std::int64_t>(kWindowBytes / block_bytes, 1, blocks);
    const std::int64_t windows = ceil_div(blocks, share);
    const std::int64_t resident = std::min<std::int64_t>(s.ctas_per_sm, device.sm.max_threads / s.threads);
    const std::int64_t slots = static_cast<std::int64_t>(s.sms.size()) * resident;
    const Affine row = item(2) + turn(0, windows);
    const double ops = static_cast<double>(block_bytes) / 4;
    const int warps = static_cast<int>(ceil_div(s.threads, 32));
    const auto roles = [&](const Step& over_window) -> std::vector<trace::Role> {
        if (s.reads == 0) {
            std::vector<Step> work = {over_window, vector({ops, 0, 0, 0})};
            for (const int t : out)
                work.push_back(move(StepKind::store, -1, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
            work.push_back(end_loop());
            return {{"threads", 1, warps, work}};
        }
        std::vector<Step> loads = {over_window, acquire(0)};
        for (const int t : in) loads.push_back(move(StepKind::load, 0, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
        for (const Step& step : {commit(0), end_loop()}) loads.push_back(step);
        std::vector<Step> work = {over_window, wait_full(0), vector({ops, 0, 0, 0})};
        for (const int t : out)
            work.push_back(move(StepKind::store, -1, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
        for (const Step& step : {release(0), end_loop()}) work.push_back(step);
        return {{"issue", 1, 1, loads}, {"use", 1, std::max(1, warps - 1), work}};
    };
    if (s.reads > 0) k.rings = {{"registers", kUnroll, block_bytes * s.reads, 1, true}};
    finish(k, s);
    const auto add = [&](std::int64_t passes, const Step& over_window, const std::string& name) {
        k.name = name;
        k.work.extent = {1, passes, windows, 1};
        k.ctas = passes * windows;
        k.roles = roles(over_window);
        trace.kernels.push_back(k);
    };
    add(1, loop(share), op + ".warmup");
    trace.warmup_kernels = trace.kernels.size();
    constexpr std::int64_t kWaves = 4;
    if (s.passes * windows < kWaves * slots) {
        add(s.passes, loop(share), op);
    } else {
        add(s.passes + slots / (2 * windows), loop(share, (cta() + 1) * share, slots), op);
    }
}

/// Each CTA walks its own share, or all of the array, `passes` times with several blocks in flight. A first kernel
/// reads or writes everything once and is not counted, when there is more than one pass.
void append_walk(trace::Trace& trace, const StreamShape& s, const std::vector<int>& in, const std::vector<int>& out,
                 std::int64_t blocks, std::int64_t block_bytes, const std::string& op) {
    constexpr int kUnroll = 4;
    trace::Kernel k;
    k.name = k.op = op;
    const std::int64_t slots = static_cast<std::int64_t>(s.sms.size()) * s.ctas_per_sm;
    const std::int64_t ctas = s.shared ? slots : std::min(slots, blocks);
    k.work.extent = {1, 1, ctas, 1};
    k.ctas = ctas;
    const std::int64_t share = s.shared ? blocks : ceil_div(blocks, ctas);
    // Shares are interleaved, as grid-stride loops are: CTA c takes blocks c, c + ctas, ...
    const Affine row = s.shared ? turn(1) : turn(1, ctas) + item(2);
    const double ops = static_cast<double>(block_bytes) / 4;
    const auto walk = [&](std::int64_t passes) {
        std::vector<trace::Role> roles;
        if (s.reads > 0) {
            std::vector<Step> loads = {loop(passes), loop(share), acquire(0)};
            for (const int t : in)
                loads.push_back(move(StepKind::load, 0, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
            for (Step step : {commit(0), end_loop(), end_loop()}) loads.push_back(step);
            std::vector<Step> work = {loop(passes), loop(share), wait_full(0), vector({ops, 0, 0, 0})};
            for (const int t : out)
                work.push_back(move(StepKind::store, -1, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
            for (Step step : {release(0), end_loop(), end_loop()}) work.push_back(step);
            // Issuing and using threads are the same on the chip; as two roles the loads run ahead by the unrolling.
            const int warps = static_cast<int>(ceil_div(s.threads, 32));
            roles = {{"issue", 1, 1, loads}, {"use", 1, std::max(1, warps - 1), work}};
        } else {
            std::vector<Step> work = {loop(passes), loop(share), vector({ops, 0, 0, 0})};
            for (const int t : out)
                work.push_back(move(StepKind::store, -1, t, {row, 0}, {1, block_bytes}, LoadPath::plain));
            for (Step step : {end_loop(), end_loop()}) work.push_back(step);
            roles = {{"threads", 1, static_cast<int>(ceil_div(s.threads, 32)), work}};
        }
        return roles;
    };
    if (s.reads > 0) k.rings = {{"registers", kUnroll, block_bytes * s.reads, 1, true}};
    finish(k, s);
    if (s.passes > 1) {
        trace::Kernel warm = k;
        warm.name = op + ".warmup";
        warm.roles = walk(1);
        trace.kernels.push_back(std::move(warm));
        trace.warmup_kernels = trace.kernels.size();
    }
    k.roles = walk(s.passes);
    trace.kernels.push_back(std::move(k));
}

}  // namespace

void append_elementwise(trace::Trace& trace, const ElementwiseShape& s, const std::vector<int>& inputs,
                        const std::vector<int>& outputs, const std::string& name, const device::Device&) {
    const std::int64_t element_bits = trace::bits_of(s.dtype);
    const std::int64_t per_block = std::min(s.elements, kBlockBytes * 8 / element_bits);
    const std::int64_t blocks = ceil_div(s.elements, per_block);
    trace::Kernel k;
    k.name = name;
    k.op = "elementwise";
    k.params = {{"elements", std::to_string(s.elements)},
                {"reads", std::to_string(s.reads)},
                {"writes", std::to_string(s.writes)},
                {"dtype", trace::name_of(s.dtype)}};
    k.work.extent = {1, 1, blocks, 1};
    k.ctas = blocks;
    k.registers_per_thread = 32;
    // Tensors of any shape are viewed as flat: aliases of the same addresses. One that is smaller than the kernel's
    // elements (the cache's rows beside the queries) gives each block its part.
    std::uint64_t read_bytes = 0, write_bytes = 0;
    const auto move_block = [&](StepKind kind, int ring, int tensor) {
        trace::Tensor view = trace.tensors[static_cast<std::size_t>(tensor)];
        std::int64_t held = 1;
        for (int d = 0; d < view.rank; ++d) held *= view.shape[static_cast<std::size_t>(d)];
        const std::int64_t elements = std::min(held, s.elements);
        const std::int64_t block = ceil_div(elements, blocks);
        view.rank = 1;
        view.shape = {elements};
        const std::int64_t bits = trace::bits_of(view.dtype);  // not always the kernel's: a cache may be narrower
        view.stride_bytes = {std::max<std::int64_t>(1, bits / 8)};
        view.paged_dim = -1;
        (kind == StepKind::load ? read_bytes : write_bytes) += static_cast<std::uint64_t>(elements * bits / 8);
        return move(kind, ring, trace.add_view(view), {item(2, block)}, {block}, LoadPath::plain);
    };
    std::vector<Step> steps = {simple(StepKind::trigger_dependents), simple(StepKind::wait_dependency), acquire(0)};
    for (const int tensor : inputs) steps.push_back(move_block(StepKind::load, 0, tensor));
    for (Step step : {commit(0), wait_full(0)}) steps.push_back(step);
    const auto count = static_cast<double>(per_block);
    steps.push_back(vector({count * s.fp32_ops_per_element, count * s.sfu_ops_per_element, 0, 30}));
    for (const int tensor : outputs) steps.push_back(move_block(StepKind::store, -1, tensor));
    steps.push_back(release(0));
    k.rings = {{"registers", 1, per_block * element_bits / 8 * s.reads, 1, true}};
    k.roles = {{"threads", 1, 8, steps}};
    k.compulsory_read_bytes = read_bytes;
    k.compulsory_write_bytes = write_bytes;
    k.flops = static_cast<double>(s.elements) * s.fp32_ops_per_element;
    k.math_dtype = trace::Dtype::fp32;
    trace.kernels.push_back(std::move(k));
}

void append_stream(trace::Trace& trace, const OpSpec& op, const device::Device& device) {
    StreamShape s = read_shape(op, device);
    const std::int64_t block_bytes = s.one_element ? s.threads * 8 : s.threads * 16;
    std::int64_t cols = block_bytes;
    std::int64_t blocks = std::max<std::int64_t>(1, s.array_bytes / block_bytes);
    std::vector<int> in, out;
    for (int i = 0; i < s.reads; ++i) in.push_back(add_block_tensor(trace, fmt::format("in{}", i), blocks, cols));
    for (int i = 0; i < s.writes; ++i) out.push_back(add_block_tensor(trace, fmt::format("out{}", i), blocks, cols));
    if (s.pattern_bytes > 0 && s.pattern_stride > s.pattern_bytes) {
        // Only the first bytes of every stride are touched: the block becomes as many rows as it has strides.
        const std::int64_t rows_per_block = std::max<std::int64_t>(1, block_bytes / s.pattern_stride);
        for (auto* list : {&in, &out}) {
            for (int& tensor : *list) {
                trace::Tensor view = trace.tensors[static_cast<std::size_t>(tensor)];
                view.rank = 3;
                view.shape = {blocks, rows_per_block, s.pattern_bytes};
                view.stride_bytes = {block_bytes, s.pattern_stride, 1};
                tensor = trace.add_view(view);
            }
        }
        cols = s.pattern_bytes;
        s.array_bytes = blocks * rows_per_block * s.pattern_bytes;
        append_walk(trace, s, in, out, blocks, block_bytes, op.op());
        for (auto& kernel : trace.kernels) {
            for (auto& role : kernel.roles) {
                for (auto& step : role.steps) {
                    if (step.tensor >= 0) step.box = {1, rows_per_block, cols};
                }
            }
        }
        return;
    }
    s.array_bytes = blocks * block_bytes;
    if (s.one_element) {
        append_one_element(trace, s, in, out, blocks, block_bytes, op.op());
    } else if (op.op() == "stream" && s.passes > 1 && !s.shared && !op.has("sms") && !op.has("within")) {
        append_windows(trace, s, in, out, blocks, block_bytes, op.op(), device);
    } else {
        append_walk(trace, s, in, out, blocks, block_bytes, op.op());
    }
}

}  // namespace memwall::workload
