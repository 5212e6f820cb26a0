// Which tiles exist, and how a problem is bound to one.

#include <algorithm>
#include <utility>
#include <vector>

#include "fold.h"
#include "gemm.h"
#include "gemm_kernel.cuh"

namespace memwall::kernels {

namespace {

using Kernel = void (*)(CUtensorMap, CUtensorMap, CUtensorMap, GemmArguments);

/// A compiled tile; `recording` is null where the recorder was not compiled in.
struct Entry {
    GemmTileShape shape;
    Kernel kernel, recording;
};

#ifdef MEMWALL_RECORD_TILES
constexpr bool kRecorder = true;
#else
constexpr bool kRecorder = false;
#endif

template <std::size_t kIndex>
Entry entry() {
    Entry e{kGemmTiles[kIndex], &gemm_kernel<GemmTile<kIndex>, false>, nullptr};
    if constexpr (kRecorder && kGemmTiles[kIndex].recorded) e.recording = &gemm_kernel<GemmTile<kIndex>, true>;
    return e;
}

template <std::size_t... kIndices>
std::vector<Entry> all_entries(std::index_sequence<kIndices...>) {
    return {entry<kIndices>()...};
}

const Entry* find(Dtype dtype, const GemmSchedule& s) {
    static const std::vector<Entry> entries = all_entries(std::make_index_sequence<kGemmTiles.size()>());
    const auto same = [&](const Entry& e) {
        return e.shape.element_bytes == static_cast<int>(bytes_of(dtype)) && e.shape.m == s.tile_m &&
               e.shape.n == s.tile_n && e.shape.k == s.tile_k && e.shape.cluster == s.cluster;
    };
    const auto at = std::ranges::find_if(entries, same);
    return at == entries.end() ? nullptr : &*at;
}

std::string text_of(const GemmSchedule& s) {
    return std::to_string(s.tile_m) + "x" + std::to_string(s.tile_n) + "x" + std::to_string(s.tile_k);
}

}  // namespace

std::string gemm_refusal(const GemmProblem& p, const GemmSchedule& s) {
    const Entry* e = find(p.dtype, s);
    if (e == nullptr) {
        return "tile " + text_of(s) + " with cluster " + std::to_string(s.cluster) + " was not compiled for " +
               name_of(p.dtype);
    }
    if (s.stages < 1 || s.stages > kMostGemmStages) return std::to_string(s.stages) + " stages: 1 to 8 are possible";
    if (e->shape.smem_bytes(s.stages) > kSharedBytesOfCta) {
        return std::to_string(s.stages) + " stages of " + std::to_string(e->shape.stage_bytes()) + " bytes take " +
               std::to_string(e->shape.smem_bytes(s.stages)) + " bytes of shared memory; a CTA has " +
               std::to_string(kSharedBytesOfCta);
    }
    if (p.k * static_cast<std::int64_t>(bytes_of(p.dtype)) % 16 != 0 || p.n % 8 != 0) {
        return "rows of A, B and C must be multiples of 16 bytes (TMA)";
    }
    return "";
}

struct GemmPlan::State {
    const Entry* entry;
    GemmArguments arguments{};
    CUtensorMap a, b, c;
    int ctas;
    bool recording;
    void* out;
    DeviceBuffer partial;
};

GemmPlan::GemmPlan(const GemmProblem& p, const GemmSchedule& s, const TileLog* log)
    : state_(std::make_shared<State>()) {
    if (const std::string reason = gemm_refusal(p, s); !reason.empty()) throw CudaError(reason);
    State& state = *state_;
    state.entry = find(p.dtype, s);
    const GemmTileShape& e = state.entry->shape;
    state.recording = log != nullptr;
    if (state.recording && state.entry->recording == nullptr) {
        throw CudaError("tile " + text_of(s) + " was not compiled with the tile recorder");
    }
    const auto m = static_cast<std::uint64_t>(p.m), n = static_cast<std::uint64_t>(p.n),
               k = static_cast<std::uint64_t>(p.k);
    const auto column = static_cast<std::uint32_t>(kRowBytes / e.element_bytes);
    state.a = matrix_map(p.a, p.dtype, m, k, static_cast<std::uint32_t>(e.m), column);
    state.b = matrix_map(p.b, p.dtype, n, k, static_cast<std::uint32_t>(e.n / e.cluster), column);
    state.c = matrix_map(p.c, Dtype::bf16, m, n, 64, 64);
    state.out = p.c;
    state.arguments.order = GemmOrder::of(p.m, p.n, p.k, e.m, e.n, e.k, e.cluster, s.split, s.panel);
    state.arguments.stages = s.stages;
    state.arguments.m = static_cast<int>(p.m);
    state.arguments.n = static_cast<int>(p.n);
    if (log != nullptr) state.arguments.log = *log;
    const GemmOrder& order = state.arguments.order;
    if (order.splits > 1) {
        state.partial = DeviceBuffer(static_cast<std::size_t>(order.splits) * p.m * p.n * sizeof(float));
        state.arguments.partial = state.partial.as<float>();
    }
    const int resident = multiprocessors() / e.cluster;
    state.ctas = (s.persistent ? std::min(order.items(), resident) : order.items()) * e.cluster;
}

void GemmPlan::launch(cudaStream_t stream, bool dependent) const {
    const State& s = *state_;
    const Launch how{.grid = dim3(static_cast<unsigned>(s.ctas)),
                     .block = dim3(static_cast<unsigned>(128 * (s.entry->shape.groups() + 1))),
                     .smem_bytes = s.entry->shape.smem_bytes(s.arguments.stages),
                     .stream = stream,
                     .cluster = static_cast<unsigned>(s.entry->shape.cluster),
                     .dependent = dependent};
    kernels::launch(s.recording ? s.entry->recording : s.entry->kernel, how, s.a, s.b, s.c, s.arguments);
    if (s.arguments.partial == nullptr) return;
    const std::int64_t elements = static_cast<std::int64_t>(s.arguments.m) * s.arguments.n;
    fold_partials(s.arguments.partial, s.arguments.order.splits, elements, s.out, stream, dependent);
}

int GemmPlan::ctas() const {
    return state_->ctas;
}

}  // namespace memwall::kernels
