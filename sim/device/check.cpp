// Cross-checks of a device: what must hold between fields, each with its arithmetic in the message.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "device/reader.h"

namespace memwall::device {
namespace {

constexpr int kMostNamed = 256;  // SMs, and slices: chip::Chunk names either in 8 bits

struct Checker {
    const Device& d;
    const std::string& file;

    void require(bool holds, const std::string& pointer, const std::string& found, const std::string& allowed) const {
        if (!holds) throw InputError(file + ": " + pointer, found, allowed);
    }
    /// a / b must leave nothing.
    void divides(const std::string& pointer, std::int64_t a, const std::string& a_name, std::int64_t b,
                 const std::string& b_name) const {
        require(a % b == 0, pointer,
                fmt::format("{} {} over {} {}: {} / {} leaves {}", a, a_name, b, b_name, a, b, a % b),
                fmt::format("a number of {} that is a multiple of {}", a_name, b));
    }
    void power_of_two(const std::string& pointer, int value) const {
        require(std::has_single_bit(static_cast<unsigned>(value)), pointer, std::to_string(value), "a power of two");
    }
    void ordered(const std::string& pointer, const std::string& left_name, double left, const std::string& right_name,
                 double right) const {
        require(left <= right, pointer, fmt::format("{} {:g} above {} {:g}", left_name, left, right_name, right),
                fmt::format("{} <= {}", left_name, right_name));
    }

    void sm() const {
        ordered("/sm/smem_per_cta_max_bytes", "smem_per_cta_max_bytes", d.sm.smem_per_cta_max_bytes, "smem_bytes",
                d.sm.smem_bytes);
        ordered("/sm/smem_bytes", "smem_bytes", d.sm.smem_bytes, "l1_bytes", d.sm.l1_bytes);
        ordered("/sm/smem_reserved_per_cta_bytes", "smem_reserved_per_cta_bytes", d.sm.smem_reserved_per_cta_bytes,
                "smem_per_cta_max_bytes", d.sm.smem_per_cta_max_bytes);
        ordered("/sm/async_copy_bytes_per_cycle", "async_copy_bytes_per_cycle", d.sm.async_copy_bytes_per_cycle,
                "smem_bytes_per_cycle", d.sm.smem_bytes_per_cycle);
        ordered("/sm/max_warps", "32 * max_warps", 32.0 * d.sm.max_warps, "max_threads", d.sm.max_threads);
        constexpr int kMostL1 = 16 << 20;  // each SM's tags are kept
        ordered("/sm/l1_bytes", "l1_bytes", d.sm.l1_bytes, "the most that is simulated", kMostL1);
        ordered("/floorplan/sms_per_gpc", "SMs", d.sms(), "the most that a request can name", kMostNamed);
    }

    void l2() const {
        const L2Params& c = d.l2;
        power_of_two("/l2/line_bytes", c.line_bytes);
        power_of_two("/l2/sector_bytes", c.sector_bytes);
        power_of_two("/l2/fill_bytes", c.fill_bytes);
        power_of_two("/l2/interleave_bytes", c.interleave_bytes);
        // They nest: a sector in a fill in a line in a slice's granule.
        ordered("/l2/sector_bytes", "sector_bytes", c.sector_bytes, "fill_bytes", c.fill_bytes);
        ordered("/l2/fill_bytes", "fill_bytes", c.fill_bytes, "line_bytes", c.line_bytes);
        ordered("/l2/line_bytes", "line_bytes", c.line_bytes, "interleave_bytes", c.interleave_bytes);
        const int lines = c.interleave_bytes / c.line_bytes, sectors = c.line_bytes / c.sector_bytes;
        require(lines <= 16 && lines * sectors <= 64, "/l2/interleave_bytes",
                fmt::format("{} / {} = {} lines of {} sectors", c.interleave_bytes, c.line_bytes, lines, sectors),
                "at most 16 lines and 64 sectors in one slice's granule");
        require(sectors <= 4, "/l2/sector_bytes",
                fmt::format("{} / {} = {} sectors of a line", c.line_bytes, c.sector_bytes, sectors),
                "at most 4 sectors of a line");
        divides("/l2/slices", c.slices, "slices", 2, "partitions");
        ordered("/l2/slices", "slices", c.slices, "the most that a request can name", kMostNamed);
        divides("/l2/slice_bytes", c.slice_bytes, "bytes of a slice",
                static_cast<std::int64_t>(c.ways) * c.interleave_bytes,
                fmt::format("bytes (one granule in each of {} ways)", c.ways));
        const int granule = std::countr_zero(static_cast<unsigned>(c.interleave_bytes));
        require(std::countr_zero(c.home_mask) >= granule, "/l2/home_mask",
                fmt::format("0x{:X}, whose lowest bit is {}", c.home_mask, std::countr_zero(c.home_mask)),
                fmt::format("bits from {} up: a granule of {} bytes has one home", granule, c.interleave_bytes));
        ordered("/l2/requests_per_slice", "lines of a granule", lines, "requests_per_slice", c.requests_per_slice);
    }

    void hbm() const {
        const HbmParams& h = d.hbm;
        power_of_two("/hbm/burst_bytes", h.burst_bytes);
        power_of_two("/hbm/page_bytes", h.page_bytes);
        power_of_two("/hbm/pseudo_channel_interleave_bytes", h.pseudo_channel_interleave_bytes);
        power_of_two("/hbm/bank_groups", h.bank_groups);
        power_of_two("/hbm/banks_per_group", h.banks_per_group);
        divides("/hbm/run_bank_groups", h.bank_groups, "bank groups", h.run_bank_groups, "of a run");
        require(h.burst_bytes == d.l2.sector_bytes, "/hbm/burst_bytes",
                fmt::format("{} against /l2/sector_bytes {}", h.burst_bytes, d.l2.sector_bytes),
                "the size of a sector: one burst fills one sector");
        ordered("/hbm/pseudo_channel_interleave_bytes", "fill_bytes", d.l2.fill_bytes,
                "pseudo_channel_interleave_bytes", h.pseudo_channel_interleave_bytes);
        ordered("/hbm/pseudo_channel_interleave_bytes", "pseudo_channel_interleave_bytes",
                h.pseudo_channel_interleave_bytes, "interleave_bytes", d.l2.interleave_bytes);
        // What the pins carry in nbl command clocks is a burst.
        const int carried = h.pseudo_channel_bits * h.transfers_per_clock * h.nbl / 8;
        require(carried == h.burst_bytes, "/hbm/nbl",
                fmt::format("{} pins * {} transfers * {} clocks / 8 = {} bytes", h.pseudo_channel_bits,
                            h.transfers_per_clock, h.nbl, carried),
                fmt::format("a burst of {} bytes", h.burst_bytes));
        ordered("/hbm/nccds", "nbl", h.nbl, "nccds", h.nccds);
        ordered("/hbm/nccdl", "nccds", h.nccds, "nccdl", h.nccdl);
        ordered("/hbm/trrdl_ns", "trrds_ns", h.trrds_ns, "trrdl_ns", h.trrdl_ns);
        ordered("/hbm/twtrl_ns", "twtrs_ns", h.twtrs_ns, "twtrl_ns", h.twtrl_ns);
        ordered("/hbm/trc_ns", "tras_ns", h.tras_ns, "trc_ns", h.trc_ns);
        const int banks = h.sids * h.bank_groups * h.banks_per_group;
        if (h.refresh == "per_bank") {
            require(h.trfcpb_ns < h.trefi_ns, "/hbm/trfcpb_ns",
                    fmt::format("{:g} ns, once per bank every {:g} ns ({} banks)", h.trfcpb_ns, h.trefi_ns, banks),
                    "less than trefi_ns: a bank must be free at times");
        } else if (h.refresh == "all_bank") {
            require(h.trfcab_ns < h.trefi_ns, "/hbm/trfcab_ns", fmt::format("{:g} ns", h.trfcab_ns),
                    fmt::format("less than trefi_ns ({:g} ns)", h.trefi_ns));
        }
        ordered("/hbm/write_low_watermark", "write_low_watermark", h.write_low_watermark + 1, "write_high_watermark",
                h.write_high_watermark);
        ordered("/hbm/write_high_watermark", "write_high_watermark", h.write_high_watermark, "write_queue_entries",
                h.write_queue_entries);
        // A run of bursts as long as one channel's piece of a granule must fit into the queue.
        const int run = h.pseudo_channel_interleave_bytes / d.l2.fill_bytes;
        ordered("/hbm/read_queue_entries", "entries of one run", run, "read_queue_entries", h.read_queue_entries);
        ordered("/hbm/write_queue_entries", "entries of one run", run, "write_queue_entries", h.write_queue_entries);
    }

    void memory_split() const {
        const HbmParams& h = d.hbm;
        const int controllers = h.stacks * d.floorplan.controllers_per_stack;
        divides("/floorplan/controllers_per_stack", d.floorplan.controllers_per_stack, "controllers of a stack", 2,
                "partitions");
        divides("/l2/slices", d.l2.slices, "slices", controllers,
                fmt::format("controllers ({} stacks * {})", h.stacks, d.floorplan.controllers_per_stack));
        divides("/hbm/channels_per_stack", h.pseudo_channels(),
                fmt::format("pseudo-channels ({} * {} * {})", h.stacks, h.channels_per_stack,
                            h.pseudo_channels_per_channel),
                d.l2.slices, "slices");
        const int channels = h.pseudo_channels() / d.l2.slices;
        const int share = d.l2.interleave_bytes / channels;
        divides("/l2/interleave_bytes", d.l2.interleave_bytes, "bytes of a granule", channels,
                "pseudo-channels of a slice");
        divides("/hbm/page_bytes", h.gang_page_bytes(),
                fmt::format("bytes of {} pages that open together", h.run_bank_groups), share,
                "bytes of a granule in one pseudo-channel");
        const int pieces = d.l2.interleave_bytes / h.pseudo_channel_interleave_bytes;
        divides("/hbm/pseudo_channel_interleave_bytes", pieces, "pieces of a granule", channels,
                "pseudo-channels of a slice");
    }

    void floorplan() const {
        const FloorplanParams& f = d.floorplan;
        require(!f.sms_per_gpc.empty(), "/floorplan/sms_per_gpc", "an empty list", "the number of SMs of each GPC");
        require(f.gpc_partition.size() == f.sms_per_gpc.size(), "/floorplan/gpc_partition",
                fmt::format("{} entries for {} GPCs", f.gpc_partition.size(), f.sms_per_gpc.size()),
                "one entry (0 or 1) for each entry of sms_per_gpc");
        for (std::size_t gpc = 0; gpc < f.sms_per_gpc.size(); ++gpc) {
            divides(fmt::format("/floorplan/sms_per_gpc/value/{}", gpc), f.sms_per_gpc[gpc], "SMs", f.sms_per_tpc,
                    "SMs of a TPC");
        }
        for (const int half : {0, 1}) {
            require(std::ranges::find(f.gpc_partition, half) != f.gpc_partition.end(), "/floorplan/gpc_partition",
                    fmt::format("no GPC at partition {}", half), "at least one GPC at either partition");
        }
        divides("/floorplan/sms_per_cpc", f.sms_per_cpc, "SMs of a CPC", f.sms_per_tpc, "SMs of a TPC");
    }
};

}  // namespace

void check_device(const Device& device, const std::string& file) {
    const Checker check{device, file};
    check.sm();
    check.floorplan();
    check.l2();
    check.hbm();
    check.memory_split();
}

}  // namespace memwall::device
