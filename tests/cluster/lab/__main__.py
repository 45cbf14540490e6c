"""Which commands are there? Errors are one sentence."""

import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from tests.cluster.lab import images, recorder
from tests.cluster.lab.builds import ALL_MODULES, build_modules, unfit_here
from tests.cluster.lab.builds import build as build_all
from tests.cluster.lab.cluster import Cluster
from tests.cluster.lab.shell import LabError

AT_ONCE = 3
"""How many scenarios run beside each other: more would change each other's times."""

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.pass_context
def cli(context: click.Context) -> None:
    """Run a real one-node Kubernetes with real Tekton and Jaeger on this machine. Needs root and Debian 12.

    \b
    CLUSTER_HOME             where programs and state are kept (default: ~/.cache/cluster)
    CLUSTER_APISERVER_FLAGS  further flags of kube-apiserver
    """  # noqa: D301 - click's mark for text that is not to be wrapped
    if reason := unfit_here():
        raise LabError(reason)
    context.obj = Cluster.of_environment()


@cli.command()
@click.argument("names", nargs=-1, type=click.Choice([module.name for module in ALL_MODULES]), metavar="[MODULE]...")
@click.pass_obj
def build(cluster: Cluster, names: tuple[str, ...]) -> None:
    """Build the programs, about 10 minutes the first time; or those of some folders of lab/modules alone."""
    if names:
        build_modules(cluster.place, [module for module in ALL_MODULES if module.name in names])
    else:
        build_all(cluster.place)


@cli.command()
@click.pass_obj
def up(cluster: Cluster) -> None:
    """Start it anew, in about 15 seconds once it is built; print the kubeconfig's path."""
    cluster.up()
    click.echo(cluster.place.kubeconfig)


@cli.command()
@click.pass_obj
def down(cluster: Cluster) -> None:
    """Stop it and throw its state away."""
    cluster.down()


@cli.command()
@click.pass_obj
def env(cluster: Cluster) -> None:
    """Print what a shell needs: eval "$(... env)"."""
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.place.kubeconfig))} PATH={shlex.quote(str(cluster.place.bin))}:$PATH")


@cli.command()
@click.argument("component")
@click.pass_obj
def logs(cluster: Cluster, component: str) -> None:
    """Print a component's log."""
    log = cluster.place.log(component)
    if not log.exists():
        known = sorted(path.stem for path in log.parent.glob("*.log"))
        raise LabError(f"{component} has no log; {', '.join(known) or 'nothing'} has: run `up`, or name one of them.")
    click.echo(log.read_text(errors="replace"), nl=False)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("entrypoint", nargs=-1)
@click.pass_obj
def image(cluster: Cluster, name: str, folder: Path, entrypoint: tuple[str, ...]) -> None:
    """Add an image NAME made of FOLDER, which runs ENTRYPOINT (or a shell)."""
    images.load_folders(cluster.place, images.Image(name, folder, entrypoint))


@cli.command()
@click.argument("archive", type=_file)
def load(archive: Path) -> None:
    """Add the images of a docker-archive or an OCI archive."""
    click.echo(images.load(archive))


@cli.command()
@click.argument("scenarios", nargs=-1, required=True, type=_file, metavar="SCENARIO...")
@click.option("--out", required=True, type=_folder, help="Where each scenario gets its folder.")
@click.pass_obj
def record(cluster: Cluster, scenarios: tuple[Path, ...], out: Path) -> None:
    """Run scenarios and record what the API server says, and what the steps say of themselves."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for said in pool.map(lambda scenario: recorder.record(cluster.place, scenario, out), scenarios):
            click.echo(said)


if __name__ == "__main__":
    try:
        cli(prog_name="python -m tests.cluster.lab")
    except LabError as error:
        sys.exit(f"cluster: {error}")
