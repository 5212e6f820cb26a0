// Sums and differences of the observations, member by member.
#include "base/observations.h"

namespace memwall {

HbmTime& HbmTime::operator+=(const HbmTime& o) {
    data_ps += o.data_ps;
    refresh_ps += o.refresh_ps;
    bank_ps += o.bank_ps;
    turnaround_ps += o.turnaround_ps;
    idle_ps += o.idle_ps;
    return *this;
}

HbmTime operator-(HbmTime a, const HbmTime& b) {
    a.data_ps -= b.data_ps;
    a.refresh_ps -= b.refresh_ps;
    a.bank_ps -= b.bank_ps;
    a.turnaround_ps -= b.turnaround_ps;
    a.idle_ps -= b.idle_ps;
    return a;
}

TileLifetime& TileLifetime::operator+=(const TileLifetime& o) {
    hbm += o.hbm;
    interposer += o.interposer;
    l2 += o.l2;
    far_link += o.far_link;
    crossbar += o.crossbar;
    smem_wait += o.smem_wait;
    compute += o.compute;
    bytes += o.bytes;
    return *this;
}

TileLifetime operator-(TileLifetime a, const TileLifetime& b) {
    a.hbm -= b.hbm;
    a.interposer -= b.interposer;
    a.l2 -= b.l2;
    a.far_link -= b.far_link;
    a.crossbar -= b.crossbar;
    a.smem_wait -= b.smem_wait;
    a.compute -= b.compute;
    a.bytes -= b.bytes;
    return a;
}

Counters& Counters::operator+=(const Counters& o) {
    dram_read_bytes += o.dram_read_bytes;
    dram_write_bytes += o.dram_write_bytes;
    dram_row_hits += o.dram_row_hits;
    dram_row_misses += o.dram_row_misses;
    dram_row_conflicts += o.dram_row_conflicts;
    dram_activates += o.dram_activates;
    l2_read_bytes += o.l2_read_bytes;
    l2_write_bytes += o.l2_write_bytes;
    l2_hit_bytes += o.l2_hit_bytes;
    l2_near_bytes += o.l2_near_bytes;
    l2_far_bytes += o.l2_far_bytes;
    l2_far_hit_bytes += o.l2_far_hit_bytes;
    l2_coalesced_bytes += o.l2_coalesced_bytes;
    l2_writeback_bytes += o.l2_writeback_bytes;
    l2_lookup_busy_ps += o.l2_lookup_busy_ps;
    link_bytes += o.link_bytes;
    sm_read_bytes += o.sm_read_bytes;
    sm_write_bytes += o.sm_write_bytes;
    multicast_bytes += o.multicast_bytes;
    smem_bytes += o.smem_bytes;
    smem_busy_ps += o.smem_busy_ps;
    tensor_busy_ps += o.tensor_busy_ps;
    vector_busy_ps += o.vector_busy_ps;
    sfu_busy_ps += o.sfu_busy_ps;
    wait_data_ps += o.wait_data_ps;
    wait_stores_ps += o.wait_stores_ps;
    sm_active_ps += o.sm_active_ps;
    ctas += o.ctas;
    hbm += o.hbm;
    life += o.life;
    return *this;
}

Counters operator-(Counters a, const Counters& b) {
    a.dram_read_bytes -= b.dram_read_bytes;
    a.dram_write_bytes -= b.dram_write_bytes;
    a.dram_row_hits -= b.dram_row_hits;
    a.dram_row_misses -= b.dram_row_misses;
    a.dram_row_conflicts -= b.dram_row_conflicts;
    a.dram_activates -= b.dram_activates;
    a.l2_read_bytes -= b.l2_read_bytes;
    a.l2_write_bytes -= b.l2_write_bytes;
    a.l2_hit_bytes -= b.l2_hit_bytes;
    a.l2_near_bytes -= b.l2_near_bytes;
    a.l2_far_bytes -= b.l2_far_bytes;
    a.l2_far_hit_bytes -= b.l2_far_hit_bytes;
    a.l2_coalesced_bytes -= b.l2_coalesced_bytes;
    a.l2_writeback_bytes -= b.l2_writeback_bytes;
    a.l2_lookup_busy_ps -= b.l2_lookup_busy_ps;
    a.link_bytes -= b.link_bytes;
    a.sm_read_bytes -= b.sm_read_bytes;
    a.sm_write_bytes -= b.sm_write_bytes;
    a.multicast_bytes -= b.multicast_bytes;
    a.smem_bytes -= b.smem_bytes;
    a.smem_busy_ps -= b.smem_busy_ps;
    a.tensor_busy_ps -= b.tensor_busy_ps;
    a.vector_busy_ps -= b.vector_busy_ps;
    a.sfu_busy_ps -= b.sfu_busy_ps;
    a.wait_data_ps -= b.wait_data_ps;
    a.wait_stores_ps -= b.wait_stores_ps;
    a.sm_active_ps -= b.sm_active_ps;
    a.ctas -= b.ctas;
    a.hbm = a.hbm - b.hbm;
    a.life = a.life - b.life;
    return a;
}

}  // namespace memwall
