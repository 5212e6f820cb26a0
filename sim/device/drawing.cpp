#include "device/drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace memwall::device {
namespace {

constexpr double kPx = 22;                               // per millimetre
constexpr double kLeft = 13.2, kTop = 5.0, kFoot = 3.4;  // mm around the die

struct Colour {
    double r, g, b;
};

/// Colours from cold to hot: even steps of lightness, readable in grey and for the colour-blind.
Colour heat_colour(double heat) {
    static constexpr std::array<Colour, 6> kScale{
        {{252, 249, 240}, {253, 221, 158}, {252, 174, 97}, {239, 101, 72}, {190, 41, 66}, {98, 16, 66}}};
    const double at = std::clamp(heat, 0.0, 1.0) * (kScale.size() - 1);
    const auto i = std::min(static_cast<std::size_t>(at), kScale.size() - 2);
    const double t = at - static_cast<double>(i);
    const auto mix = [t](double a, double b) { return a + (b - a) * t; };
    return {mix(kScale[i].r, kScale[i + 1].r), mix(kScale[i].g, kScale[i + 1].g), mix(kScale[i].b, kScale[i + 1].b)};
}

std::string hex(const Colour& c) {
    return fmt::format("#{:02x}{:02x}{:02x}", std::lround(c.r), std::lround(c.g), std::lround(c.b));
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '"')
            out += "&quot;";
        else
            out += c;
    }
    return out;
}

/// Plain fills, by kind, when there is no traffic to show.
std::string plain_fill(NodeKind kind, int partition) {
    switch (kind) {
        case NodeKind::sm:
            return partition == 0 ? "#a7d3a2" : "#9fcfb8";
        case NodeKind::tpc:
            return "#e3f1e0";
        case NodeKind::gpc:
            return "#f3f8f1";
        case NodeKind::crossbar:
            return "#53647d";
        case NodeKind::slice:
            return partition == 0 ? "#8fb8e8" : "#7fa6de";
        case NodeKind::controller:
            return "#f0b277";
        case NodeKind::phy:
            return "#d9895b";
        default:
            return "#b9a6d9";
    }
}

class Svg {
public:
    Svg(const Device& device, const Layout& layout, const std::vector<double>& heat)
        : d_(device),
          l_(layout),
          heat_(heat),
          width_(device.floorplan.die_width_mm + 2 * kLeft),
          height_(device.floorplan.die_height_mm + kTop + kFoot) {}

    std::string draw() {
        header();
        package();
        gpcs();
        l2();
        memory();
        footer();
        out_ += "</svg>\n";
        return std::move(out_);
    }

private:
    template <class... Args>
    void put(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
    }
    [[nodiscard]] double px(double mm) const { return (mm + kLeft) * kPx; }
    [[nodiscard]] double py(double mm) const { return (d_.floorplan.die_height_mm - mm + kTop) * kPx; }

    void rect(const Box& box, const std::string& fill, const std::string& stroke, double stroke_px, double radius_px,
              const std::string& title = "", const std::string& more = "") {
        put("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"{:.1f}\" fill=\"{}\" "
            "stroke=\"{}\" "
            "stroke-width=\"{:.2f}\"{}",
            px(box.x), py(box.y + box.height), box.width * kPx, box.height * kPx, radius_px, fill, stroke, stroke_px,
            more);
        if (title.empty())
            put("/>\n");
        else
            put("><title>{}</title></rect>\n", escaped(title));
    }
    /// `size` in pixels; (x, y) is the middle of the text.
    void text(double x, double y, double size, const std::string& what, const std::string& fill = "#26323f",
              const std::string& more = "") {
        put("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.1f}\" fill=\"{}\" text-anchor=\"middle\"{}>{}</text>\n",
            px(x), py(y) + size * 0.35, size, fill, more, escaped(what));
    }
    void upright(double x, double y, double size, const std::string& what, const std::string& fill) {
        text(x, y, size, what, fill, fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", px(x), py(y)));
    }

    [[nodiscard]] bool hot() const { return !heat_.empty(); }
    [[nodiscard]] double heat_of(int id) const {
        return static_cast<std::size_t>(id) < heat_.size() ? heat_[static_cast<std::size_t>(id)] : 0;
    }
    [[nodiscard]] std::string fill_of(int id) const {
        const Node& node = l_.nodes[static_cast<std::size_t>(id)];
        return hot() ? hex(heat_colour(heat_of(id))) : plain_fill(node.kind, node.partition);
    }
    /// Ink that reads on the fill.
    [[nodiscard]] std::string ink_of(int id) const {
        const NodeKind kind = l_.nodes[static_cast<std::size_t>(id)].kind;
        const bool dark = hot() ? heat_of(id) > 0.55 : kind == NodeKind::crossbar;
        return dark ? "#ffffff" : "#26323f";
    }
    [[nodiscard]] std::string title_of(int id) const {
        const std::string& name = l_.nodes[static_cast<std::size_t>(id)].name;
        return hot() ? fmt::format("{}: {:.1f} %", name, 100 * heat_of(id)) : name;
    }
    void part(NodeKind kind, int index, double stroke_px, double radius_px) {
        const int id = l_.id(kind, index);
        rect(l_.boxes[static_cast<std::size_t>(id)], fill_of(id), "#5c6b7a", stroke_px, radius_px, title_of(id));
    }

    void header() {
        put("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" font-family=\"Inter, 'Helvetica "
            "Neue', "
            "Arial, 'DejaVu Sans', sans-serif\">\n",
            width_ * kPx, height_ * kPx);
        put("<defs><pattern id=\"unused\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
            "patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#f4f4f1\"/><rect width=\"2\" "
            "height=\"6\" "
            "fill=\"#d9dad4\"/></pattern></defs>\n");
        put("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
        const double l2_mib = static_cast<double>(d_.l2.slices) * d_.l2.slice_bytes / (1 << 20);
        const double x = d_.floorplan.die_width_mm / 2, top = d_.floorplan.die_height_mm;
        text(x, top + 3.7, 30, d_.name, "#1b2530", " font-weight=\"700\"");
        text(x, top + 2.4, 17,
             fmt::format("{} SMs in {} GPCs · {:.0f} MiB L2 in {} slices · {} stacks of {}, {:.0f} GB/s", d_.sms(),
                         d_.gpcs(), l2_mib, d_.l2.slices, d_.hbm.stacks, d_.hbm.standard, d_.hbm.peak_gbps()),
             "#4a5866");
    }

    void package() {
        const double w = d_.floorplan.die_width_mm, h = d_.floorplan.die_height_mm;
        rect({-12.3, -1.0, w + 24.6, h + 2.0}, "#eef0f3", "#b8c0c9", 1.5, 14, "interposer");
        rect({0, 0, w, h}, "#fbfbf9", "#39444f", 2.5, 6, "die");
        for (const Box& spacer : l_.spacers) {
            rect(spacer, "none", "#b8c0c9", 1.5, 8, "no stack here", " stroke-dasharray=\"7 5\"");
            text(spacer.mid_x(), spacer.mid_y(), 15, "no stack", "#97a1ab");
        }
    }

    void gpcs() {
        for (int gpc = 0; gpc < d_.gpcs(); ++gpc) {
            part(NodeKind::gpc, gpc, 1.4, 6);
            const int id = l_.id(NodeKind::gpc, gpc);
            const Box& box = l_.boxes[static_cast<std::size_t>(id)];
            const bool bottom = d_.floorplan.gpc_partition[static_cast<std::size_t>(gpc)] == 0;
            const double y = bottom ? box.y + 0.42 : box.y + box.height - 0.42;
            text(box.mid_x(), y, 14.5,
                 fmt::format("GPC {} · {} SMs", gpc, d_.floorplan.sms_per_gpc[static_cast<std::size_t>(gpc)]),
                 ink_of(id), " font-weight=\"600\"");
        }
        for (const Box& box : l_.unused_tpcs) rect(box, "url(#unused)", "#c9cbc5", 0.8, 4, "TPC not in use");
        for (std::size_t tpc = 0; tpc < l_.tpc_gpc.size(); ++tpc) part(NodeKind::tpc, static_cast<int>(tpc), 0.7, 4);
        for (int sm = 0; sm < d_.sms(); ++sm) {
            part(NodeKind::sm, sm, 0.7, 3);
            const int id = l_.id(NodeKind::sm, sm);
            const Box& box = l_.boxes[static_cast<std::size_t>(id)];
            text(box.mid_x(), box.mid_y(), std::min(12.0, box.height * kPx * 0.5), fmt::format("{}", sm), ink_of(id));
        }
    }

    void l2() {
        for (int half : {0, 1}) {
            part(NodeKind::crossbar, half, 1.2, 4);
            const int id = l_.id(NodeKind::crossbar, half);
            const Box& box = l_.boxes[static_cast<std::size_t>(id)];
            text(box.mid_x(), box.mid_y(), 14.5,
                 fmt::format("crossbar {} · {:.0f} B/clk to each GPC, {:.0f} from it", half,
                             d_.floorplan.gpc_crossbar.bytes_per_cycle_back, d_.floorplan.gpc_crossbar.bytes_per_cycle),
                 ink_of(id), " font-weight=\"600\"");
        }
        const int per_half = d_.l2.slices / 2;
        for (int slice = 0; slice < d_.l2.slices; ++slice) {
            part(NodeKind::slice, slice, 0.7, 2);
            const int id = l_.id(NodeKind::slice, slice);
            const Box& box = l_.boxes[static_cast<std::size_t>(id)];
            text(box.mid_x(), box.mid_y(), std::min(11.0, box.width * kPx * 0.42), fmt::format("{}", slice),
                 ink_of(id));
        }
        // One wire of the link per column: from the nearer slice of a column to its mirror.
        for (int slice = 0; slice < per_half; ++slice) {
            const Box& a = l_.boxes[static_cast<std::size_t>(l_.id(NodeKind::slice, slice))];
            const Box& b = l_.boxes[static_cast<std::size_t>(l_.id(NodeKind::slice, slice + per_half))];
            if (b.y - (a.y + a.height) > a.height) continue;
            put("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#7a8794\" "
                "stroke-width=\"1.3\"/>\n",
                px(a.mid_x()), py(a.y + a.height), py(b.y));
        }
        const Box plate{d_.floorplan.die_width_mm / 2 - 6.6, d_.floorplan.die_height_mm / 2 - 0.36, 13.2, 0.72};
        rect(plate, "#ffffff", "#7a8794", 0.9, 7);
        text(plate.mid_x(), plate.mid_y(), 12.5,
             fmt::format("link between the partitions · {:.0f} B per L2 clock each way",
                         d_.floorplan.partition_link_bytes_per_cycle_total));
    }

    void memory() {
        const int controllers = d_.hbm.stacks * d_.floorplan.controllers_per_stack;
        const double gbps = d_.hbm.peak_gbps() / d_.hbm.stacks;
        const int pins = d_.hbm.channels_per_stack * d_.hbm.pseudo_channels_per_channel * d_.hbm.pseudo_channel_bits;
        for (int mc = 0; mc < controllers; ++mc) {
            part(NodeKind::controller, mc, 0.9, 3);
            const int id = l_.id(NodeKind::controller, mc);
            const Box& box = l_.boxes[static_cast<std::size_t>(id)];
            upright(box.mid_x(), box.mid_y(), 12.5, fmt::format("controller {}", mc), ink_of(id));
        }
        for (int stack = 0; stack < d_.hbm.stacks; ++stack) {
            part(NodeKind::phy, stack, 0.9, 3);
            const int phy = l_.id(NodeKind::phy, stack);
            const Box& at = l_.boxes[static_cast<std::size_t>(phy)];
            upright(at.mid_x(), at.mid_y(), 11.5, fmt::format("PHY {}", stack), ink_of(phy));
            draw_stack(stack, at, pins, gbps);
        }
    }

    void draw_stack(int stack, const Box& phy, int pins, double gbps) {
        const int id = l_.id(NodeKind::stack, stack);
        const Box& box = l_.boxes[static_cast<std::size_t>(id)];
        const bool left = box.x < phy.x;
        const double from = left ? box.x + box.width : box.x, to = left ? phy.x : phy.x + phy.width;
        for (int i = 0; i < 8; ++i) {  // the bundle of micro-bump wires
            const double y = box.mid_y() + (i - 3.5) * 0.55;
            put("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                px(from), py(y), px(to), py(y), hot() ? hex(heat_colour(heat_of(id))) : "#a08cc4");
        }
        for (int i = 3; i > 0; --i) {  // dies of the stack, seen from above at an angle
            const double shift = 0.13 * i;
            rect({box.x - shift, box.y + shift, box.width, box.height}, "#efebf6", "#8d7fb0", 0.9, 7);
        }
        part(NodeKind::stack, stack, 1.4, 7);
        const std::string ink = ink_of(id);
        const double gib = d_.hbm.capacity_bytes() / d_.hbm.stacks / (1 << 30);
        text(box.mid_x(), box.mid_y() + 1.5, 19, fmt::format("{} stack {}", d_.hbm.standard, stack), ink,
             " font-weight=\"700\"");
        text(box.mid_x(), box.mid_y() + 0.4, 14.5, fmt::format("{:.0f} GiB · {:.0f} GB/s", gib, gbps), ink);
        text(box.mid_x(), box.mid_y() - 0.5, 14.5, fmt::format("{} pins at {:g} Gb/s", pins, d_.hbm.data_rate_gbps),
             ink);
        text(box.mid_x(), box.mid_y() - 1.4, 14.5,
             fmt::format("{} x {} pseudo-channels", d_.hbm.channels_per_stack, d_.hbm.pseudo_channels_per_channel),
             ink);
        if (hot())
            text(box.mid_x(), box.mid_y() - 2.5, 15, fmt::format("{:.0f} %", 100 * heat_of(id)), ink,
                 " font-weight=\"700\"");
    }

    void footer() {
        const double x = d_.floorplan.die_width_mm / 2, y = -2.2;
        if (!hot()) {
            text(x, y, 14,
                 fmt::format("die {:g} x {:g} mm; widths in bytes per SM clock at {:g} MHz; arrangement plausible, "
                             "not published",
                             d_.floorplan.die_width_mm, d_.floorplan.die_height_mm, d_.clocks.sm_mhz),
                 "#6b7783");
            return;
        }
        constexpr int kSteps = 48;
        const double width = 16, step = width / kSteps;
        for (int i = 0; i < kSteps; ++i) {
            rect({x - width / 2 + i * step, y - 0.1, step + 0.02, 0.55}, hex(heat_colour((i + 0.5) / kSteps)), "none",
                 0, 0);
        }
        rect({x - width / 2, y - 0.1, width, 0.55}, "none", "#5c6b7a", 0.9, 0);
        for (const int percent : {0, 25, 50, 75, 100}) {
            text(x + width * (percent / 100.0 - 0.5), y - 0.55, 13, fmt::format("{} %", percent), "#4a5866");
        }
        text(x - width / 2 - 2.1, y + 0.18, 14, "traffic", "#4a5866");
    }

    const Device& d_;
    const Layout& l_;
    const std::vector<double>& heat_;
    double width_, height_;
    std::string out_;
};

const char* kind_name(EdgeKind kind) {
    static constexpr std::array<const char*, 8> kNames{"SM to TPC",
                                                       "TPC to GPC",
                                                       "GPC to crossbar",
                                                       "crossbar to slice",
                                                       "link between the partitions",
                                                       "slice to controller",
                                                       "controller to PHY",
                                                       "PHY to stack"};
    return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace

std::string draw_dot(const Device& device, const std::vector<Node>& nodes, const std::vector<Hop>& edges) {
    std::string out = fmt::format(
        "graph \"{}\" {{\n  layout=neato; overlap=true; splines=false;\n  node [shape=box, style=filled, "
        "fontname=\"Helvetica\", fontsize=9, margin=\"0.04,0.02\", height=0.2, width=0.3];\n  edge "
        "[color=\"#7a8794\"];\n",
        device.name);
    constexpr double kInchesPerMm = 0.9;  // room for the names
    for (const Node& node : nodes) {
        out += fmt::format("  {} [pos=\"{:.3f},{:.3f}!\", fillcolor=\"{}\"{}];\n", node.name, node.x_mm * kInchesPerMm,
                           node.y_mm * kInchesPerMm, plain_fill(node.kind, node.partition),
                           node.kind == NodeKind::crossbar ? ", fontcolor=white" : "");
    }
    for (const auto& [from, to, edge] : edges) {
        out += fmt::format("  {} -- {} [tooltip=\"{}: {:.2f} ns, {:.1f} mm, {:g} B/clk towards memory, {:g} back\"];\n",
                           nodes[static_cast<std::size_t>(from)].name, nodes[static_cast<std::size_t>(to)].name,
                           kind_name(edge.kind), edge.latency.ns(), edge.length_mm, edge.bytes_per_cycle,
                           edge.bytes_per_cycle_back);
    }
    return out + "}\n";
}

std::string draw_svg(const Device& device, const Layout& layout, const std::vector<double>& heat) {
    return Svg(device, layout, heat).draw();
}

}  // namespace memwall::device
