#include "device/floorplan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/error.h"
#include "device/reader.h"
#include "device/show.h"

namespace memwall::device {
namespace {

const std::vector<std::string> kDirs{std::string(MEMWALL_SOURCE_DIR) + "/configs/devices"};

Device device(const std::string& name = "h100-sxm5", const std::vector<std::string>& sets = {}) {
    return load_device(name, kDirs, sets);
}

std::vector<int> all(const Floorplan& plan, NodeKind kind) {
    std::vector<int> out;
    for (std::size_t id = 0; id < plan.nodes().size(); ++id) {
        if (plan.nodes()[id].kind == kind) out.push_back(static_cast<int>(id));
    }
    return out;
}

std::vector<std::string> names(const Floorplan& plan, const std::vector<Hop>& route) {
    std::vector<std::string> out;
    for (const Hop& hop : route) {
        if (out.empty()) out.push_back(plan.nodes()[static_cast<std::size_t>(hop.from)].name);
        out.push_back(plan.nodes()[static_cast<std::size_t>(hop.to)].name);
    }
    return out;
}

TEST(Floorplan, HasThePartsOfTheChip) {
    const Floorplan plan(device());
    EXPECT_EQ(all(plan, NodeKind::sm).size(), 132U);
    EXPECT_EQ(all(plan, NodeKind::tpc).size(), 66U);
    EXPECT_EQ(all(plan, NodeKind::gpc).size(), 8U);
    EXPECT_EQ(all(plan, NodeKind::slice).size(), 80U);
    EXPECT_EQ(all(plan, NodeKind::controller).size(), 10U);
    EXPECT_EQ(all(plan, NodeKind::stack).size(), 5U);
    std::map<int, int> sms;
    std::set<int> cpcs;
    for (int sm = 0; sm < 132; ++sm) {
        ++sms[plan.gpc_of_sm(sm)];
        cpcs.insert(plan.cpc_of_sm(sm));
        EXPECT_EQ(plan.tpc_of_sm(sm), sm / 2);
    }
    EXPECT_EQ(std::ranges::count_if(sms, [](const auto& gpc) { return gpc.second == 18; }), 2);
    EXPECT_EQ(std::ranges::count_if(sms, [](const auto& gpc) { return gpc.second == 16; }), 6);
    EXPECT_EQ(cpcs.size(), 24U);
    for (std::size_t id = 0; id < plan.nodes().size(); ++id)
        EXPECT_EQ(plan.find(plan.nodes()[id].name), static_cast<int>(id));
    EXPECT_EQ(plan.find("sm132"), -1);
}

TEST(Floorplan, SmIdsAreDealtAsOnTheMeasuredCard) {
    // GPUNetBench, H100 PCIe: the GPC with 18 SMs.
    const Floorplan plan(device("h100-pcie"));
    std::vector<int> gpc0;
    for (int sm = 0; sm < 114; ++sm) {
        if (plan.gpc_of_sm(sm) == 0) gpc0.push_back(sm);
    }
    EXPECT_EQ(gpc0, (std::vector<int>{0, 1, 14, 15, 28, 29, 42, 43, 56, 57, 70, 71, 84, 85, 110, 111, 112, 113}));
}

TEST(Floorplan, HalvesAreBalanced) {
    for (const char* name : {"h100-sxm5", "h200-sxm"}) {
        const Device d = device(name);
        const Floorplan plan(d);
        int sms = 0, slices = 0;
        for (int sm = 0; sm < d.sms(); ++sm) sms += plan.partition_of_sm(sm);
        for (int slice = 0; slice < d.l2.slices; ++slice) {
            slices += plan.partition_of_slice(slice);
            const int mirror = plan.mirror_of_slice(slice);
            EXPECT_EQ(plan.mirror_of_slice(mirror), slice);
            EXPECT_NE(plan.partition_of_slice(mirror), plan.partition_of_slice(slice));
        }
        EXPECT_EQ(sms, 66) << name;
        EXPECT_EQ(slices, d.l2.slices / 2) << name;
        std::map<int, int> slices_of_stack;
        for (int slice = 0; slice < d.l2.slices; ++slice) {
            ++slices_of_stack[plan.stack_of_controller(plan.controller_of_slice(slice))];
        }
        EXPECT_EQ(slices_of_stack.size(), static_cast<std::size_t>(d.hbm.stacks));
        for (const auto& [stack, count] : slices_of_stack) EXPECT_EQ(count, 16) << name << " stack " << stack;
    }
}

TEST(Floorplan, RoutesPassTheSmsOwnHalf) {
    const Floorplan plan(device());
    const int half = plan.partition_of_sm(5);
    const std::string crossbar = "xbar" + std::to_string(half);
    for (int slice = 0; slice < 80; ++slice) {
        const auto way = names(plan, plan.route(plan.find("sm5"), plan.id(NodeKind::slice, slice)));
        const bool near = plan.partition_of_slice(slice) == half;
        ASSERT_EQ(way.size(), near ? 5U : 6U);
        EXPECT_EQ(way[3], crossbar);
        EXPECT_EQ(way[4], "slice" + std::to_string(near ? slice : plan.mirror_of_slice(slice)));
    }
    // The way back is the same, turned around.
    auto back = names(plan, plan.route(plan.find("hbm4"), plan.find("sm5")));
    std::ranges::reverse(back);
    EXPECT_EQ(back, names(plan, plan.route(plan.find("sm5"), plan.find("hbm4"))));
    EXPECT_TRUE(plan.route(plan.find("sm0"), plan.find("sm0")).empty());
    EXPECT_EQ(plan.latency(plan.find("sm0"), plan.find("sm0")), Ps{0});
}

TEST(Floorplan, ARouteDoesNotTurnAroundAtAPhy) {
    // hbm1's PHY joins controllers of both halves; a slow link must not be cut short through it.
    const Floorplan plan(device("h100-sxm5", {"/floorplan/partition_link/latency_ns=500"}));
    const int slice = plan.find("slice16");
    EXPECT_EQ(plan.stack_of_controller(plan.controller_of_slice(16)), 1);
    EXPECT_GT(plan.latency(slice, plan.id(NodeKind::slice, plan.mirror_of_slice(16))).ns(), 500);
}

TEST(Floorplan, LatencyIsTheSumOfTheHops) {
    const Floorplan plan(device());
    for (const auto& [from, to] :
         {std::pair{"sm0", "slice0"}, {"sm131", "hbm3"}, {"hbm0", "sm17"}, {"slice3", "slice43"}}) {
        Ps sum{0};
        for (const Hop& hop : plan.route(plan.find(from), plan.find(to))) sum += hop.edge.latency;
        EXPECT_GT(sum, Ps{0});
        EXPECT_EQ(sum, plan.latency(plan.find(from), plan.find(to))) << from << to;
    }
}

TEST(Floorplan, BudgetsMeetTheMeasuredLatencies) {
    const auto cycles = [](const Device& d, Reach reach) {
        return total_ns(latency_budget(d, Floorplan(d), reach)) * d.clocks.sm_mhz * 1e-3;
    };
    const Device sxm = device(), pcie = device("h100-pcie"), h200 = device("h200-sxm");
    EXPECT_NEAR(cycles(sxm, Reach::near_l2), 280.4, 1);  // GH200 at 1980 MHz, RRZE gpu-latency
    EXPECT_NEAR(cycles(h200, Reach::near_l2), 280.4, 1);
    EXPECT_NEAR(cycles(pcie, Reach::near_l2), 264.5, 1);  // H800 PCIe at 1755 MHz, HPMLL
    EXPECT_NEAR(cycles(pcie, Reach::far_l2), 414.1, 1);   // Luo et al. 2501.12084
    EXPECT_NEAR(cycles(pcie, Reach::near_memory), 555.5, 1);
    EXPECT_NEAR(cycles(pcie, Reach::far_memory), 743.7, 1);
    // GH200 at 1980 MHz, RRZE gpu-latency: a chain beyond half of L2 is 229 cycles more than one in it, 150 of them for
    // either clock; one beyond all of it takes 680 to 689, in either half of memory.
    EXPECT_NEAR(cycles(sxm, Reach::far_l2) - cycles(sxm, Reach::near_l2), 150, 1);
    EXPECT_NEAR((cycles(sxm, Reach::near_memory) + cycles(sxm, Reach::far_memory)) / 2, 685, 2);
}

TEST(Floorplan, MeanRouteIsTheBudget) {
    const Device d = device();
    const Floorplan plan(d);
    double sum = 0;
    int count = 0;
    for (int sm = 0; sm < d.sms(); ++sm) {
        for (int slice = 0; slice < d.l2.slices; ++slice) {
            if (plan.partition_of_slice(slice) != plan.partition_of_sm(sm)) continue;
            sum += plan.latency(plan.id(NodeKind::sm, sm), plan.id(NodeKind::slice, slice)).ns();
            ++count;
        }
    }
    const double ends = (d.sm.load_issue_cycles + d.sm.load_return_cycles) * d.sm_clock().period_ps() * 1e-3;
    EXPECT_NEAR(2 * sum / count + d.l2.hit_ns + ends, total_ns(latency_budget(d, plan, Reach::near_l2)), 0.01);
}

TEST(Floorplan, EveryStepIsLongEnoughForTheLookahead) {
    for (const auto& name : list_devices(kDirs)) {
        const Device d = device(name);
        const Floorplan plan(d);
        for (int sm = 0; sm < d.sms(); ++sm) {
            EXPECT_GE(
                plan.latency(plan.id(NodeKind::sm, sm), plan.id(NodeKind::crossbar, plan.partition_of_sm(sm))).ns(),
                18);
        }
        EXPECT_GE(plan.min_latency({EdgeKind::crossbar_slice}).ns(), 18);
        EXPECT_GE(plan.min_latency({EdgeKind::partition_link}).ns(), 18);
        EXPECT_GE(plan.min_latency({EdgeKind::controller_interposer}).ns() +
                      plan.min_latency({EdgeKind::interposer_stack}).ns(),
                  18);
    }
}

TEST(Floorplan, OneEdgeInTheDescriptionChangesItsLatencyAlone) {
    const Floorplan before(device());
    const Floorplan after(
        device("h100-sxm5", {R"(/floorplan/overrides=[{"from":"xbar0","to":"gpc0","latency_cycles":0,)"
                             R"("latency_ns":90,"bytes_per_cycle":10,"bytes_per_cycle_back":20}])"}));
    const auto to_slice0 = [](const Floorplan& plan, const char* sm) {
        return plan.latency(plan.find(sm), plan.find("slice0"));
    };
    EXPECT_EQ(to_slice0(before, "sm4"), to_slice0(after, "sm4"));  // another GPC
    // 20 SM cycles of 505.05 ps become 90 ns; the wire stays.
    EXPECT_NEAR((to_slice0(after, "sm0") - to_slice0(before, "sm0")).ns(), 90 - 20 * 0.50505, 0.01);
    EXPECT_DOUBLE_EQ(after.max_flow({after.find("sm0")}, {after.find("slice0")}, false), 10);
    const Floorplan kind(device("h100-sxm5", {"/floorplan/crossbar_slice/latency_ns=40"}));
    EXPECT_GT(to_slice0(kind, "sm4"), to_slice0(before, "sm4"));
}

TEST(Floorplan, AnOverrideOfNoPartIsBadInput) {
    const Device d = device("h100-sxm5", {R"(/floorplan/overrides=[{"from":"xbar0","to":"gcp0","latency_cycles":0,)"
                                          R"("latency_ns":90,"bytes_per_cycle":10,"bytes_per_cycle_back":20}])"});
    try {
        const Floorplan plan(d);
        FAIL();
    } catch (const InputError& e) {
        EXPECT_NE(std::string(e.what()).find("/floorplan/overrides/value/0/to: found \"gcp0\""), std::string::npos)
            << e.what();
    }
}

TEST(Floorplan, LargestFlowIsTheNarrowestCut) {
    for (const auto& name : list_devices(kDirs)) {
        const Device d = device(name);
        const Floorplan plan(d);
        const auto& f = d.floorplan;
        const auto sms = all(plan, NodeKind::sm), slices = all(plan, NodeKind::slice);
        // Each GPC passes the least of what its SMs, its TPCs and its own port can; all of them no more than the
        // slices.
        double up = 0, down = 0;
        for (const int n : f.sms_per_gpc) {
            const double tpcs = n / f.sms_per_tpc;
            up += std::min(
                {n * f.sm_tpc.bytes_per_cycle, tpcs * f.tpc_gpc.bytes_per_cycle, f.gpc_crossbar.bytes_per_cycle});
            down += std::min({n * f.sm_tpc.bytes_per_cycle_back, tpcs * f.tpc_gpc.bytes_per_cycle_back,
                              f.gpc_crossbar.bytes_per_cycle_back});
        }
        up = std::min(up, d.l2.slices * f.crossbar_slice.bytes_per_cycle);
        down = std::min(down, d.l2.slices * f.crossbar_slice.bytes_per_cycle_back);
        EXPECT_NEAR(plan.max_flow(sms, slices, false), up, 0.01) << name;
        EXPECT_NEAR(plan.max_flow(slices, sms, true), down, 0.01) << name;
        EXPECT_NEAR(plan.max_flow({sms[0]}, slices, false), f.sm_tpc.bytes_per_cycle, 0.01) << name;
        // Between the halves there is only the link.
        const auto middle = slices.begin() + d.l2.slices / 2;
        EXPECT_NEAR(plan.max_flow({slices.begin(), middle}, {middle, slices.end()}, true),
                    f.partition_link_bytes_per_cycle_total, 0.01 * d.l2.slices)
            << name;
    }
}

TEST(Floorplan, DrawingsNameEveryPart) {
    const Floorplan plan(device());
    const std::string dot = plan.to_dot(), svg = plan.to_svg();
    for (const Node& node : plan.nodes()) {
        EXPECT_NE(dot.find("  " + node.name + " [pos="), std::string::npos);
        EXPECT_NE(svg.find("<title>" + node.name + "</title>"), std::string::npos);
    }
    EXPECT_TRUE(svg.starts_with("<svg"));
    EXPECT_TRUE(svg.ends_with("</svg>\n"));
    const std::string hot = plan.to_svg(std::vector<double>(plan.nodes().size(), 0.5));
    EXPECT_NE(hot.find("<title>sm7: 50.0 %</title>"), std::string::npos);
}

TEST(Floorplan, PartsOfOneKindDoNotOverlap) {
    for (const auto& name : list_devices(kDirs)) {
        const Floorplan plan(device(name));
        std::set<std::pair<long, long>> places;
        for (const Node& node : plan.nodes()) {
            if (node.kind == NodeKind::tpc) continue;
            EXPECT_TRUE(places.emplace(std::lround(node.x_mm * 100), std::lround(node.y_mm * 100)).second) << node.name;
        }
    }
}

}  // namespace
}  // namespace memwall::device
