// One streaming multiprocessor: CTA slots, the copy engine (TMA) and the load/store unit, shared memory, tensor cores,
// vector units and SFU.
//
// A CTA's roles are interpreted step by step; a role runs until it must wait (for a stage to be full or empty, for its
// tensor-core work, a barrier, its stores) and is woken by what it waits for. Everything that several roles use is one
// resource of the SM: the copy engine works off commands in order, the tensor cores take one warpgroup's work after
// another's, shared memory has one bandwidth for TMA writes, operand reads and the threads.
#pragma once

#include <string>
#include <vector>

#include "base/observations.h"
#include "chip/sm/cta.h"
#include "chip/sm/l1.h"
#include "chip/sm/program.h"
#include "chip/sm/tensor_core.h"
#include "chip/sm/transfer.h"
#include "chip/sm/vector_units.h"
#include "chip/wiring.h"

namespace memwall::chip {

class Crossbar;
class LaunchUnit;

static_assert(kMaxStages <= TimelineSpan::kLanesOfRing, "stages of two rings would share a lane of the timeline");

/// What the SMs of a chip share besides the wiring: programs, clusters, the sink for the timeline.
struct Workbench {
    const trace::Trace* trace = nullptr;
    std::vector<Program> programs;
    Pool<ClusterRecord> clusters{1 << 10};
    std::vector<TimelineSpan>* timeline = nullptr;  ///< null: nobody watches
    std::vector<TileObservation>* tiles = nullptr;  ///< beside it
    std::vector<bool> watched;                      ///< by SM
    std::vector<double> chase_samples;              ///< cycles
};

class Sm : public PartOf<Sm> {
public:
    enum Kind : std::uint32_t {
        response,        ///< chunk; in the lane
        start_cta,       ///< payload: slot, whose StartOrder is filled in
        resume,          ///< payload: slot << 8 | role
        mma_check,       ///< a turn at the tensor cores may be over; payload: which
        vector_check,    ///< a step may be through with a vector unit
        mma_readable,    ///< payload: slot << 8 | role
        cta_barrier,     ///< payload: slot
        peer_release,    ///< payload: slot << 8 | ring; arg: stage
        cluster_arrive,  ///< payload: cluster
        cluster_go,      ///< payload: slot
        dependency,      ///< payload: kernel whose dependency is fulfilled
        work,            ///< payload: slot; arg: the item that its CTA has taken, kNone when all are taken
        signalled,       ///< payload: slot << 8 | role: the flag that it polled is set
        chase_hit        ///< payload: slot << 8 | role: an access that L1 answered
    };
    struct StartOrder {
        std::uint32_t kernel;
        std::int64_t cta;
        std::uint32_t cluster;
        int rank;
    };

    Sm(const sc_core::sc_module_name& name, Shared& shared, Workbench& bench, int index, std::uint32_t id);
    void connect(Crossbar& crossbar, LaunchUnit& launch, const std::vector<Sm*>& sms);

    void handle(const Message& message);
    void handle_in_order(std::uint32_t chunk, std::int64_t now_ps) { accept(chunk, now_ps); }
    void prefetch_in_order(std::uint32_t chunk) const { shared_.chunks.prefetch(chunk); }

    /// The order for the CTA that will start in `slot`; written by the launch unit before its message.
    StartOrder& order(int slot) { return orders_[static_cast<std::size_t>(slot)]; }
    /// The SM that receives copy `copy` (1, 2, ...) of a multicast chunk that this SM asked for.
    [[nodiscard]] std::size_t multicast_peer(const Chunk& chunk, int copy) const;
    [[nodiscard]] int index() const { return index_; }

    [[nodiscard]] const Counters& counters() const { return counters_; }
    [[nodiscard]] PartTraffic traffic() const;
    void check_empty() const;
    /// One line per role that waits, for the report of a deadlock.
    void describe_waits(std::vector<std::string>& lines) const;

private:
    void start(int slot, std::int64_t now_ps);
    void run(int slot, int role, std::int64_t now_ps);  // interpreter.cpp
    enum class Outcome { next, stay, blocked };
    Outcome step(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now_ps);
    Outcome begin_loop(const Program& program, RoleState& role, const trace::Step& step);
    Outcome end_loop(const Program& program, RoleState& role);
    enum class Next { item, none, unknown };
    Next next_item(Cta& cta, int slot, RoleState& role, std::int64_t now_ps);
    Next next_taken(Cta& cta, int slot, RoleState& role, std::int64_t now_ps);
    Next next_piece(const Cta& cta, RoleState& role);
    void begin_item(const Cta& cta, RoleState& role);
    void take_work(int slot, std::uint32_t item, std::int64_t now_ps);
    void set_coordinates(const Cta& cta, RoleState& role, std::int64_t tile);
    [[nodiscard]] static std::uint32_t flag_of(const trace::Step& step, const RoleState& role);
    Outcome block(RoleState& role, Wait why, std::int64_t now_ps);
    void wake(Cta& cta, int slot, int role, std::int64_t at_ps);
    void waited_for_stores(const Cta& cta, const RoleState& role, std::int64_t since_ps, std::int64_t until_ps);
    void finish_role(Cta& cta, int slot, std::int64_t now_ps);
    /// Says once for a CTA that the next kernel may begin.
    void trigger_dependents(Cta& cta, std::int64_t now_ps);
    void exit_cta(Cta& cta, int slot, std::int64_t now_ps);

    Outcome acquire(const Cta& cta, RoleState& role, RingState& ring, int ring_index, std::int64_t& now_ps);
    void load(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now_ps);
    void commit(Cta& cta, int slot, RoleState& role, int ring, std::int64_t now_ps);
    Outcome wait_full(Cta& cta, RoleState& role, int ring, std::int64_t& now_ps);
    void release(Cta& cta, int slot, RoleState& role, int ring, std::int64_t now_ps);
    void local_release(Cta& cta, int slot, int ring, int stage, bool own, std::int64_t now_ps);
    void stage_full(Cta& cta, int slot, int ring, Stage& stage, std::int64_t at_ps);
    void mma(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now_ps);
    Outcome vector_work(int slot, int role_index, const Cta& cta, RoleState& role, const trace::Step& step,
                        std::int64_t& now_ps);
    void check_vector(std::int64_t now_ps);
    void await_vector();
    void finish_vector(const VectorUnits::Step& done, std::int64_t now_ps);
    Outcome chase(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step, std::int64_t& now_ps);
    void chase_access(Cta& cta, int slot, int role_index, RoleState& role, const trace::Step& step,
                      std::int64_t now_ps);
    void chase_answer(Cta& cta, int slot, int role_index, std::int64_t now_ps);
    void chase_complete(int slot, int role_index, std::int64_t at_ps);
    Outcome sync_cta(Cta& cta, int slot, RoleState& role, std::int64_t now_ps);
    Outcome sync_cluster(Cta& cta, RoleState& role, std::int64_t now_ps);

    void accept(std::uint32_t chunk, std::int64_t now_ps);
    void accept_load(const Chunk& chunk, std::int64_t now_ps);
    void accept_ack(const Chunk& chunk, std::int64_t now_ps);
    void emit(Engine& engine, std::int64_t now_ps);
    /// The last piece of a store of `chunk`'s role leaves at `at_ps`.
    void stores_read(const Chunk& chunk, std::int64_t at_ps);
    /// Fills in what follows from the address.
    void locate(Chunk& chunk, std::uint64_t address, std::uint32_t bytes) const;
    void send_request(Chunk& chunk, std::int64_t leaves_ps);
    void start_mma(std::int64_t now_ps);
    void check_mma(std::uint32_t turn, std::int64_t now_ps);
    void use_smem(std::int64_t bytes) { use_smem(bytes, smem_ps_per_byte_); }
    void use_smem(std::int64_t bytes, double ps_per_byte) {
        const double ps = static_cast<double>(bytes) * ps_per_byte;
        counters_.smem_bytes += static_cast<std::uint64_t>(bytes);
        counters_.smem_busy_ps += ps;
        smem_other_ps_ += ps;
    }
    [[nodiscard]] bool watched() const {
        return bench_.timeline != nullptr && bench_.watched[static_cast<std::size_t>(index_)];
    }
    void note(TimelineSpan::Track track, int lane, const Cta& cta, const RoleState& role, std::int64_t begin,
              std::int64_t end);
    [[nodiscard]] std::int64_t cycles(double n) const { return wiring_.sm_clock.span(n).count; }
    /// A cluster's barrier, one way: to the SM of its first CTA, or back.
    [[nodiscard]] std::int64_t cluster_barrier_ps() const { return cycles(device_.sm.cluster_barrier_cycles / 2); }
    [[nodiscard]] const Program& program(const Cta& cta) const { return bench_.programs[cta.kernel]; }

    Shared& shared_;
    Wiring& wiring_;
    Workbench& bench_;
    const device::Device& device_;
    const int index_;
    const int partition_;
    Crossbar* crossbar_ = nullptr;
    LaunchUnit* launch_ = nullptr;
    std::vector<Sm*> sms_;
    const std::vector<int>* slices_;  // of its partition, by index
    std::int64_t to_crossbar_ps_;
    std::int64_t atomic_ps_;  // one way to a counter or a flag in L2

    std::vector<Cta> slots_;
    std::vector<StartOrder> orders_;
    int live_ = 0;
    std::int64_t active_since_ps_ = 0;
    std::uint32_t dependency_ = 0;           // kernels up to this index may read what came before
    std::vector<std::uint32_t> descriptor_;  // by tensor: kernel (plus 1) for which its tensor map is cached
    std::uint32_t data_seen_ = 0;            // kernel (plus 1) whose first tile has landed here

    Engine tma_, loads_, stores_;
    TensorCore tensor_;
    L1 l1_;
    VectorUnits vector_;
    std::int64_t vector_due_ps_ = kNever.count;  // of the earliest check that is on its way
    double smem_ps_per_byte_, async_copy_ps_per_byte_;
    double smem_other_ps_ = 0;  // work of all but the tensor cores, cumulative
    std::uint64_t chunks_out_ = 0, chunks_back_ = 0;
    Counters counters_;
};

}  // namespace memwall::chip
