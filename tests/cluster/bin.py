"""Stand-ins for SLURM's commands, for tests of what they are asked."""

from pathlib import Path

PROGRAMS = {
    "sbatch": """#!/usr/bin/env python3
import json, os, pathlib, sys
if "REFUSE" in os.environ:
    sys.exit(os.environ["REFUSE"])
if "--test-only" in sys.argv:
    print("sbatch: Job 7 to start at noon", file=sys.stderr)
    sys.exit(0)
line = {"words": sys.argv[1:], "variables": dict(os.environ)}
asked = pathlib.Path(__file__).with_name("asked")
with open(asked, "a") as file:
    file.write(json.dumps(line) + "\\n")
print(6 + len(asked.read_text().splitlines()))
""",
    "squeue": """#!/bin/sh
case "$*" in
    *12*) echo "RUNNING|n[1-2]|1:00:00|None" ;;
    *14*) echo "PENDING||1:00:00|Resources" ;;
    *) exit 1 ;;
esac
""",
    "scontrol": """#!/bin/sh
case "$*" in
    "show hostnames n[8-9]") printf "n8\\nn9\\n" ;;
    *16*) echo "JobId=16 Partition=main NumNodes=2 ReqNodeList=(null) ExcNodeList=n[8-9] " ;;
    *17*) echo "JobId=17 Partition=main NumNodes=1 ReqNodeList=n1 ExcNodeList=(null) " ;;
    *18*) echo "JobId=18 Partition=main NumNodes=4 ReqNodeList=(null) ExcNodeList=(null) " ;;
    *13*) echo "JobId=13 JobName=x JobState=COMPLETED NodeList=n1 " ;;
    *) exit 1 ;;
esac
""",
    "sinfo": """#!/bin/sh
[ "$3" = --partition=main ] && printf "n1\\nn2\\nn3\\nn4\\n"
[ "$2" = "--format=%P|%G|%l|%D|%c|%m" ] || exit 0
echo "cpus*|(null)|1-00:00:00|9|64|128000"
echo "gpus|gpu:a100_80gb:4(S:0-1)|2-00:00:00|3|32+|515000+"
""",
    "sacct": """#!/bin/sh
case "$*" in
    *15*) echo "CANCELLED by 0|n3" ;;
    *) exit 1 ;;
esac
""",
}


def write_programs(folder: Path) -> Path:
    """Write them into a new folder and return it."""
    folder.mkdir()
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
