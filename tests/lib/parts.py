"""The files that belong to `viaduct`, somewhere else than in the build."""
import os
import shutil


def copy_launcher(build, home):
    """The programs and the library that belong to `viaduct`, laid out as in the build."""
    for name in ("launcher/viaduct", "launcher/viaduct-full", "launcher/viaduct-supervise", "preload/libviaduct.so"):
        os.makedirs(os.path.dirname(f"{home}/{name}"), exist_ok=True)
        if os.path.exists(f"{build}/{name}") and not os.path.exists(f"{home}/{name}"):
            shutil.copyfile(f"{build}/{name}", f"{home}/{name}")
            os.chmod(f"{home}/{name}", 0o755)
