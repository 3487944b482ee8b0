import click


@click.command()
def send():
    pass


@click.command()
def device():
    pass
