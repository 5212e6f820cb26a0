// Kernel launch and the CTA scheduler.
//
// A kernel becomes ready when the one before it has completed (all CTAs exited, all stores arrived) and the gap of the
// runtime has passed: a launch from a stream, a node of a graph, a programmatic dependent launch, or a grid barrier
// inside a persistent kernel. CTAs are dealt at a bounded rate, one to each SM in turn while their threads, registers
// and shared memory fit; a slot that becomes free takes the next. A cluster is placed whole inside one GPC.
//
// Persistent CTAs that take their work items one by one do so from a counter in memory; it stands here, and asking
// takes what an atomic operation takes to L2 and back. So do the flags by which CTAs of a kernel wait for one another:
// one that is set is seen by the first poll that reaches L2 after it, and polls follow each other at a round trip.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/observations.h"
#include "chip/sm/sm.h"
#include "chip/wiring.h"

namespace memwall::chip {

class LaunchUnit : public PartOf<LaunchUnit> {
public:
    enum Kind : std::uint32_t {
        ready,          ///< payload: kernel: it may be dispatched
        cta_exited,     ///< payload: sm << 8 | slot; arg: kernel << 1 | drained
        cta_drained,    ///< payload: sm << 8 | slot; arg: kernel
        cta_triggered,  ///< arg: kernel; once for each CTA, at its exit at the latest, of kernels that trigger
        first_data,     ///< payload: kernel
        take,           ///< payload: sm << 8 | slot; arg: kernel: its CTA takes the next work item
        signal,         ///< payload: flag; arg: kernel
        poll,           ///< payload: sm << 16 | slot << 8 | role; arg: flag of that CTA's kernel
        fulfilled       ///< payload: kernel: its dependency is
    };
    /// Cumulative counters of the whole chip at a moment; gathers, decides nothing.
    using Snapshot = std::function<Counters(Ps now)>;

    LaunchUnit(const sc_core::sc_module_name& name, Shared& shared, Workbench& bench, std::uint32_t id);
    void connect(const std::vector<Sm*>& sms, Snapshot snapshot);
    /// Puts the first kernel into the queue. Call before the simulation starts.
    void begin();

    void handle(const Message& message);

    [[nodiscard]] std::int64_t exit_latency_ps() const { return exit_ps_; }
    [[nodiscard]] const std::vector<KernelObservation>& kernels() const { return observed_; }
    [[nodiscard]] bool finished() const { return completed_ == bench_.programs.size(); }
    /// What has not finished, for the report of a deadlock.
    void describe_waits(std::vector<std::string>& lines) const;

private:
    struct Resources {
        int ctas, threads, warps, registers, smem_bytes;
        std::vector<std::uint8_t> free_slots;
    };
    struct Flag {
        bool set = false;
        std::uint32_t poller = kNone;  ///< sm << 16 | slot << 8 | role
        std::int64_t polled_ps = 0;    ///< when its first poll came
    };
    struct Running {
        std::int64_t next = 0;  ///< CTA (or first of a cluster) to dispatch
        std::int64_t exited = 0, drained = 0, triggered = 0;
        std::int64_t taken = 0;  ///< items that CTAs took after their first
        bool ready = false;
        bool first_exit = false;
        std::vector<Flag> flags;  ///< as many as were asked for
    };

    void make_ready(std::size_t kernel, std::int64_t at_ps);
    void place_all(std::int64_t now_ps, int hint_sm);
    bool place_one(std::size_t kernel, std::int64_t now_ps, int hint_sm);
    bool place_cluster(std::size_t kernel, std::int64_t now_ps);
    void start(std::size_t kernel, int sm, std::int64_t cta, std::uint32_t cluster, int rank, std::int64_t now_ps);
    [[nodiscard]] bool fits(const Program& program, int sm) const;
    void exited(int sm, int slot, std::size_t kernel, bool drained, std::int64_t now_ps);
    void drained(int sm, int slot, std::size_t kernel, std::int64_t now_ps);
    Flag& flag(std::size_t kernel, std::uint32_t number);
    void set_flag(Flag& flag, std::int64_t now_ps);
    void poll_flag(Flag& flag, std::uint32_t poller, std::int64_t now_ps);
    void complete(std::size_t kernel, std::int64_t end_ps);
    [[nodiscard]] std::int64_t gap_ps() const;
    [[nodiscard]] bool overlaps() const;
    void observe(std::size_t kernel, std::size_t moment, std::int64_t at_ps);

    Shared& shared_;
    Wiring& wiring_;
    Workbench& bench_;
    std::vector<Sm*> sms_;
    Snapshot snapshot_;
    std::vector<Resources> free_;
    std::vector<std::vector<int>> gpc_sms_;
    std::vector<Running> running_;
    std::vector<KernelObservation> observed_;
    std::vector<bool> seen_data_;
    std::size_t completed_ = 0;    ///< kernels before this one have completed
    std::size_t dispatching_ = 0;  ///< kernel whose CTAs are being placed
    int rotor_ = 0;
    Server dispatcher_;
    double dispatch_ps_;
    std::int64_t start_ps_, exit_ps_;
    std::int64_t host_launch_ps_;
};

}  // namespace memwall::chip
